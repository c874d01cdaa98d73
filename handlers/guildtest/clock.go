package guildtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A Clock is the time of day of some processes. It is set while they run, as a machine's clock is; how fast time
// passes does not change.
type Clock struct {
	t    testing.TB
	dir  string
	file string // its offset, in seconds
}

// NewClock is a clock that is right.
func NewClock(t testing.TB) *Clock {
	t.Helper()
	dir := StateDir(t)
	c := &Clock{t, dir, filepath.Join(dir, "offset")}
	c.Set(0)
	return c
}

// Set puts the clock so far ahead of the right time, or behind it.
func (c *Clock) Set(offset time.Duration) {
	c.t.Helper()
	next := c.file + ".next"
	c.must(errors.Join(os.WriteFile(next, fmt.Appendf(nil, "%+d\n", int(offset.Seconds())), 0o600), os.Chmod(next, 0o644), os.Rename(next, c.file)))
}

func (c *Clock) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// follow is added to the program.
const follow = `package main

import (
	"os"
	"strconv"
	"strings"
	"time"
)

func init() {
	go func() {
		for ; ; time.Sleep(10 * time.Millisecond) {
			b, _ := os.ReadFile(%q)
			seconds, _ := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
			time.Offset.Store(seconds)
		}
	}()
}
`

// Program is the program, built anew to go by this clock. Go asks the kernel for the time with no library in
// between, so it is package time that is changed.
func (c *Clock) Program(p Program) Program {
	c.t.Helper()
	root, err := exec.CommandContext(c.t.Context(), "go", "list", "-f", "{{.Root}}", "time").Output()
	c.must(err)
	module, err := exec.CommandContext(c.t.Context(), "go", "list", "-m", "-f", "{{.Dir}}").Output()
	c.must(err)
	path := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	source, err := os.ReadFile(path)
	c.must(err)
	for _, change := range [][2]string{
		{"\nimport (\n", "\nimport (\n\t\"sync/atomic\"\n"},
		{"\nfunc Now() Time {\n\tsec, nsec, mono := runtimeNow()\n", "\nvar Offset atomic.Int64\n\nfunc Now() Time {\n\tsec, nsec, mono := runtimeNow()\n\tsec += Offset.Load()\n"},
	} {
		if bytes.Count(source, []byte(change[0])) != 1 {
			c.t.Skipf("%s is not as in Go 1.26: change it in another way", path)
		}
		source = bytes.Replace(source, []byte(change[0]), []byte(change[1]), 1)
	}
	replaced := filepath.Join(c.dir, "time.go")
	added := filepath.Join(c.dir, "follow.go")
	overlay := filepath.Join(c.dir, "overlay.json")
	b, err := json.Marshal(map[string]any{"Replace": map[string]string{
		path: replaced, filepath.Join(strings.TrimSpace(string(module)), "follow.go"): added,
	}})
	c.must(errors.Join(err, os.WriteFile(overlay, b, 0o600), os.WriteFile(replaced, source, 0o600),
		os.WriteFile(added, fmt.Appendf(nil, follow, c.file), 0o600)))
	p.Path = filepath.Join(c.dir, "fabric-guild")
	if out, err := exec.CommandContext(c.t.Context(), "go", "build", "-overlay", overlay, "-o", p.Path, "fabric-guild").CombinedOutput(); err != nil {
		c.t.Fatalf("build the program: %v\n%s", err, out)
	}
	return p
}

// Postgres is a directory of binaries, for -postgres-bin, of which the server goes by this clock.
func (c *Clock) Postgres() (bin string) {
	c.t.Helper()
	lib, _ := filepath.Glob("/usr/lib*/*/faketime/libfaketime.so.1")
	servers, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if path, err := exec.LookPath("postgres"); err == nil {
		servers = append(servers, path)
	}
	if len(lib) == 0 || len(servers) == 0 {
		c.t.Skip("Postgres' clock is set by libfaketime: install it (Debian: libfaketime)")
	}
	server := slices.Max(servers)
	bin = filepath.Join(c.dir, "bin")
	script := fmt.Sprintf("#!/bin/sh\nLD_PRELOAD=%s FAKETIME_TIMESTAMP_FILE='%s' FAKETIME_CACHE_DURATION=1 DONT_FAKE_MONOTONIC=1 FAKETIME_DONT_FAKE_MONOTONIC=1 exec %s \"$@\"\n",
		lib[0], c.file, server)
	c.must(errors.Join(os.Mkdir(bin, 0o711), os.Chmod(bin, 0o755), os.WriteFile(filepath.Join(bin, "postgres"), []byte(script), 0o600),
		os.Chmod(filepath.Join(bin, "postgres"), 0o755), os.Symlink(filepath.Join(filepath.Dir(server), "initdb"), filepath.Join(bin, "initdb"))))
	return bin
}
