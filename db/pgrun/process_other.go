//go:build unix && !linux

package pgrun

import "syscall"

type answer int

const (
	unknown answer = iota
	yes
	no
)

// setDeathSignal can do nothing here: a server outlives a killed program, and
// the next start waits for it in vain and says so.
func setDeathSignal(*syscall.SysProcAttr) {}

// serves leaves the judgement to Postgres.
func serves(int, string) answer { return unknown }
