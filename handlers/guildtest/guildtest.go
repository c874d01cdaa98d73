// Package guildtest runs the program as a process, and checks what was acknowledged against what each stream
// saw. It knows the program from outside only: its command line, its files, HTTP, and its tables.
package guildtest

import (
	"testing"
	"time"

	"fabric-guild/events/ssetest"
)

const (
	// Patience is for one step: what takes longer hangs.
	Patience = ssetest.Patience
	// Recovery is what a deployment may take to be itself again, on a machine that is busy with other things.
	Recovery = ssetest.Patience
	// Sesame is in everything that must not reach a log: contents of messages, bad tokens, passwords.
	Sesame = "open-sesame"
)

// Eventually waits until a condition holds, and ends the test if it does not within that time.
func Eventually(t testing.TB, what string, within time.Duration, condition func() bool) {
	t.Helper()
	deadline := time.After(within)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited %v in vain: %s", within, what)
		}
	}
}
