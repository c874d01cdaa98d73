// Package guildtest runs the program as a process. It compares the acknowledged messages with the messages of
// each stream. It uses the program only from outside: the command line, the files, HTTP, and the tables.
package guildtest

import (
	"testing"
	"time"

	"fabric-guild/events/ssetest"
)

const (
	// Patience is how long one step may take. A step that takes longer hangs.
	Patience = ssetest.Patience
	// Recovery is how long a deployment may take to recover on a busy machine.
	Recovery = ssetest.Patience
	// Sesame is a part of everything that must not be in a log: contents of messages, invalid tokens,
	// passwords.
	Sesame = "open-sesame"
)

// Eventually blocks until a condition holds. If the condition does not hold within the time, Eventually ends
// the test.
func Eventually(t testing.TB, what string, within time.Duration, condition func() bool) {
	t.Helper()
	if !ssetest.Within(within, condition) {
		t.Fatalf("timed out after %v: %s", within, what)
	}
}
