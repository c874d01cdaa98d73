package pgrun

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"strconv"
	"syscall"
)

type answer int

const (
	unknown answer = iota
	yes
	no
)

// setDeathSignal has the kernel shut the child down when the thread that
// started it ends, so the caller stays locked to its thread.
func setDeathSignal(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGINT }

// serves tells whether a process is a Postgres at work in the data directory.
func serves(pid int, data string) answer {
	proc := "/proc/" + strconv.Itoa(pid)
	stat, err := os.ReadFile(proc + "/stat") // 123 (postgres) S ...
	if errors.Is(err, fs.ErrNotExist) {
		return no
	}
	name, state := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if err != nil || name < 0 || state < name || state+2 >= len(stat) {
		return unknown
	}
	if string(stat[name+1:state]) != "postgres" || stat[state+2] == 'Z' {
		return no
	}
	cwd, err := os.Stat(proc + "/cwd") // Postgres works in its data directory
	if err != nil {
		return unknown
	}
	dir, err := os.Stat(data)
	if err != nil {
		return unknown
	}
	if os.SameFile(cwd, dir) {
		return yes
	}
	return no
}
