package guildtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A Clock is the time of day of some processes. A test can set it while they run, like the clock of a
// machine. The speed of time does not change.
type Clock struct {
	t    testing.TB
	dir  string
	file string // contains the offset in seconds
}

// NewClock returns a clock with the correct time.
func NewClock(t testing.TB) *Clock {
	t.Helper()
	dir := StateDir(t)
	c := &Clock{t: t, dir: dir, file: filepath.Join(dir, "offset")}
	c.Set(0)
	return c
}

// Set sets the clock ahead of the correct time by offset, or behind it if offset is negative.
func (c *Clock) Set(offset time.Duration) {
	c.t.Helper()
	next := c.file + ".next"
	content := fmt.Appendf(nil, "%+d\n", int(offset.Seconds()))
	c.must(os.WriteFile(next, content, 0o600))
	c.must(os.Chmod(next, 0o644))
	c.must(os.Rename(next, c.file))
}

func (c *Clock) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// follow is a file that Program adds to the program.
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

// Program builds the program again, so that it uses this clock. Go asks the kernel for the time without a
// library that could be replaced. So Program changes package time with an overlay.
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
		{
			"\nfunc Now() Time {\n\tsec, nsec, mono := runtimeNow()\n",
			"\nvar Offset atomic.Int64\n\nfunc Now() Time {\n" +
				"\tsec, nsec, mono := runtimeNow()\n\tsec += Offset.Load()\n",
		},
	} {
		if bytes.Count(source, []byte(change[0])) != 1 {
			c.t.Skipf("%s differs from Go 1.26: adapt the changes in this function", path)
		}
		source = bytes.Replace(source, []byte(change[0]), []byte(change[1]), 1)
	}
	replaced := filepath.Join(c.dir, "time.go")
	added := filepath.Join(c.dir, "follow.go")
	overlay := filepath.Join(c.dir, "overlay.json")
	b, err := json.Marshal(map[string]any{"Replace": map[string]string{
		path: replaced, filepath.Join(strings.TrimSpace(string(module)), "follow.go"): added,
	}})
	c.must(err)
	c.must(os.WriteFile(overlay, b, 0o600))
	c.must(os.WriteFile(replaced, source, 0o600))
	c.must(os.WriteFile(added, fmt.Appendf(nil, follow, c.file), 0o600))
	p.Path = filepath.Join(c.dir, "fabric-guild")
	build := exec.CommandContext(c.t.Context(), "go", "build", "-overlay", overlay, "-o", p.Path,
		"fabric-guild")
	if out, err := build.CombinedOutput(); err != nil {
		c.t.Fatalf("build the program: %v\n%s", err, out)
	}
	return p
}

// Postgres returns a directory of Postgres binaries for -postgres-bin. Their server uses this clock. Without
// libfaketime or Postgres, the method skips the test.
func (c *Clock) Postgres() (bin string) {
	c.t.Helper()
	lib, _ := filepath.Glob("/usr/lib*/*/faketime/libfaketime.so.1")
	servers, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if path, err := exec.LookPath("postgres"); err == nil {
		servers = append(servers, path)
	}
	if len(lib) == 0 || len(servers) == 0 {
		c.t.Skip("to set the clock of Postgres, this test needs Postgres and libfaketime (Debian: " +
			"libfaketime)")
	}
	server := slices.Max(servers)
	bin = filepath.Join(c.dir, "bin")
	script := fmt.Sprintf("#!/bin/sh\nLD_PRELOAD=%s FAKETIME_TIMESTAMP_FILE='%s' FAKETIME_CACHE_DURATION=1 "+
		"DONT_FAKE_MONOTONIC=1 FAKETIME_DONT_FAKE_MONOTONIC=1 exec %s \"$@\"\n",
		lib[0], c.file, server)
	wrapper := filepath.Join(bin, "postgres")
	c.must(os.Mkdir(bin, 0o711))
	c.must(os.Chmod(bin, 0o755))
	c.must(os.WriteFile(wrapper, []byte(script), 0o600))
	c.must(os.Chmod(wrapper, 0o755))
	c.must(os.Symlink(filepath.Join(filepath.Dir(server), "initdb"), filepath.Join(bin, "initdb")))
	return bin
}
