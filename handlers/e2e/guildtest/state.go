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

// StateDir makes a directory with a space in its name. Any user can enter it, also the user who runs Postgres
// for root. Other users cannot enter t.TempDir. At the end of the test StateDir waits until no Postgres uses
// the directory, and removes it.
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

// LockFree reports whether no process of Postgres is left in a state directory. Each of its processes holds
// the lock.
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

// Postmaster returns the process id of the server's private Postgres. That Postgres must run.
func (n *Node) Postmaster() int {
	n.t.Helper()
	pid, err := strconv.Atoi(n.postmasterFile()[0])
	if err != nil {
		n.t.Fatal(err)
	}
	return pid
}

// Superuser returns the superuser's URL of a database of the server's private Postgres. That Postgres must
// run.
func (n *Node) Superuser(database string) string {
	n.t.Helper()
	// The driver does not read "+" as a space.
	host := strings.ReplaceAll(url.QueryEscape(n.postmasterFile()[4]), "+", "%20")
	return "postgres://" + pgrun.Superuser + "@/" + database + "?host=" + host
}

// postmasterFile returns the lines of postmaster.pid: process id, data directory, start time, port, directory
// of the socket.
func (n *Node) postmasterFile() []string {
	n.t.Helper()
	b, err := os.ReadFile(filepath.Join(n.root, n.state, "postgres", "data", "postmaster.pid"))
	if err != nil {
		n.t.Fatal(err)
	}
	lines := strings.Split(string(b), "\n")
	if len(lines) < 5 {
		n.t.Fatalf("got %q in postmaster.pid, want the lines of a running Postgres", b)
	}
	return lines
}
