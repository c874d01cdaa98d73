//go:build unix && !linux

package pgrun

import "syscall"

type answer int

const (
	unknown answer = iota
	yes
	no
)

// setDeathSignal does nothing: this system has no death signal. Here a server
// outlives a killed program. The next start waits for the old server, fails, and
// says why.
func setDeathSignal(*syscall.SysProcAttr) {}

// serves cannot tell on this system. Postgres makes its own check.
func serves(int, string) answer { return unknown }
