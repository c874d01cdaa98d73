package guildtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// StartOnDisk is like Start, but the private Postgres has its own small disk in memory. size is in MiB. If
// this process may mount, StartOnDisk mounts the disk. Otherwise it starts the server in a new user and mount
// namespace. If the system forbids that too, StartOnDisk skips the test.
func (p Program) StartOnDisk(t testing.TB, size int) *Node {
	t.Helper()
	state := StateDir(t)
	home := filepath.Join(state, "postgres")
	options := fmt.Sprintf("size=%dm", size)
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	err := syscall.Mount("tmpfs", home, "tmpfs", 0, options)
	if err == nil {
		t.Cleanup(func() {
			Eventually(t, "Postgres leaves the disk", Patience, func() bool { return LockFree(t, state) })
			if err := syscall.Unmount(home, 0); err != nil {
				t.Error(err)
			}
		})
		return p.Start(t, state)
	}
	if !errors.Is(err, syscall.EPERM) {
		t.Fatal(err)
	}
	// In the outer namespace, root mounts the disk. In the inner namespace, the server runs as another user,
	// because Postgres refuses to run as root.
	const script = `mount -t tmpfs -o "$1" tmpfs "$2" && shift 2 && ` +
		`exec unshare --map-user=65534 --map-group=65534 -- "$@"`
	unshare := []string{"--map-root-user", "--mount", "sh", "-c", script, "sh", options, home}
	try := exec.CommandContext(t.Context(), "unshare", append(unshare, "true")...)
	if out, err := try.CombinedOutput(); err != nil {
		t.Skipf("a small disk needs root, or user namespaces: %v: %s", err, out)
	}
	n := p.Launch(t, state, nil, exec.Command("unshare", append(unshare, p.command(state)...)...))
	n.root = fmt.Sprintf("/proc/%d/root", n.Pid())
	return n
}

// FillDisk fills the disk of the server's private Postgres. makeRoom frees the space again.
func (n *Node) FillDisk() (makeRoom func()) {
	n.t.Helper()
	path := filepath.Join(n.root, n.state, "postgres", "ballast")
	f, err := os.Create(path)
	if err != nil {
		n.t.Fatal(err)
	}
	for block := []byte(strings.Repeat("x", 4<<10)); err == nil; {
		_, err = f.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		n.t.Fatal(err)
	}
	_ = f.Close()
	return func() {
		n.t.Helper()
		if err := os.Remove(path); err != nil {
			n.t.Fatal(err)
		}
	}
}
