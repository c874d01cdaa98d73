package guildtest

import (
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"fabric-guild/db/pgrun"
)

// StateDir makes a directory, its name with a space, that the user who runs Postgres in root's place can
// enter: t.TempDir is closed to them. At the end of the test it is removed when no Postgres is left in it.
func StateDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fabric guild ")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		Eventually(t, "Postgres leaves "+dir, Patience, func() bool { return LockFree(t, dir) })
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

// LockFree reports whether no process of a Postgres is left in a state directory: each holds its lock.
func LockFree(t testing.TB, state string) bool {
	t.Helper()
	f, err := os.Open(filepath.Join(state, "postgres-server.lock"))
	if errors.Is(err, os.ErrNotExist) {
		return true
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
}

// Postmaster is the process of the server's private Postgres, which must run.
func (n *Node) Postmaster() int {
	n.t.Helper()
	pid, err := strconv.Atoi(n.postmasterFile()[0])
	if err != nil {
		n.t.Fatal(err)
	}
	return pid
}

// Superuser is the URL by which to administer a database of the server's private Postgres, which must run.
func (n *Node) Superuser(database string) string {
	n.t.Helper()
	host := strings.ReplaceAll(url.QueryEscape(n.postmasterFile()[4]), "+", "%20") // which is no space to the driver
	return "postgres://" + pgrun.Superuser + "@/" + database + "?host=" + host
}

// postmasterFile are the lines of postmaster.pid: process, data directory, start, port, sockets' directory.
func (n *Node) postmasterFile() []string {
	n.t.Helper()
	b, err := os.ReadFile(filepath.Join(n.root, n.state, "postgres", "data", "postmaster.pid"))
	if err != nil {
		n.t.Fatal(err)
	}
	lines := strings.Split(string(b), "\n")
	if len(lines) < 5 {
		n.t.Fatalf("got %q, want the file of a Postgres that runs", b)
	}
	return lines
}
