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

// setDeathSignal makes the kernel send SIGINT to the child when the thread that
// started it ends. The caller must stay locked to its thread until the child ends.
func setDeathSignal(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGINT }

// serves tells whether a process is a Postgres that runs in the data directory.
func serves(pid int, data string) answer {
	proc := "/proc/" + strconv.Itoa(pid)
	stat, err := os.ReadFile(proc + "/stat") // 123 (postgres) S ...
	if errors.Is(err, fs.ErrNotExist) {
		return no
	}
	open := bytes.IndexByte(stat, '(')
	closing := bytes.LastIndexByte(stat, ')')
	if err != nil || open < 0 || closing < open || closing+2 >= len(stat) {
		return unknown
	}
	name := string(stat[open+1 : closing])
	zombie := stat[closing+2] == 'Z'
	if name != "postgres" || zombie {
		return no
	}
	cwd, err := os.Stat(proc + "/cwd") // the working directory of Postgres is its data directory
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
