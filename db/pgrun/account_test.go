package pgrun

import (
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func TestRootHandsPostgresToAnotherUser(t *testing.T) {
	t.Parallel()
	needRoot(t)
	pg := start(t, stateDir(t))
	if got := ownerOf(t, pg.cluster.data); got == 0 {
		t.Errorf("got data of user %d, want another user", got)
	}
	if got := ownerOf(t, "/proc/"+strconv.Itoa(pg.Pid())); got == 0 {
		t.Errorf("got a server of user %d, want another user", got)
	}
}

func TestErrorNamesTheClosedDirectory(t *testing.T) {
	t.Parallel()
	needRoot(t)
	dir := stateDir(t)
	closed := filepath.Join(filepath.Dir(dir), "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{filepath.Join(closed, "state"), closed} {
		_, err := Start(t.Context(), Config{Dir: dir})
		wantError(t, err, "cannot enter "+closed+":", "-state", "-database-url")
	}
	fi, err := os.Stat(closed)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fi.Mode().Perm(), os.FileMode(0o700); got != want {
		t.Errorf("got mode %o, want the mode unchanged: %o", got, want)
	}
}

func TestNormalUserRunsPostgres(t *testing.T) {
	t.Parallel()
	needRoot(t)
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Skip(err)
	}
	uid, err := strconv.ParseUint(nobody.Uid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.ParseUint(nobody.Gid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	dir := stateDir(t)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, int(uid), int(gid)); err != nil {
		t.Fatal(err)
	}
	executable := filepath.Join(filepath.Dir(dir), "program")
	copyFile(t, executable, self(t))

	attr := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	h := startHelper(t, dir, executable, attr)
	exec1(t, connect(t, h.line), `CREATE TABLE kept AS SELECT 1`)
	if got, want := ownerOf(t, filepath.Join(dir, "postgres", "data")), uint32(uid); got != want {
		t.Errorf("got data of user %d, want %d", got, want)
	}
	_ = h.stdin.Close()
	if err := h.cmd.Wait(); err != nil {
		t.Errorf("got %v from the helper, want an orderly end", err)
	}

	// Root runs an existing cluster as its owner, even if root would pick another
	// user for a new cluster.
	pg := start(t, dir)
	query[int](t, connect(t, pg.URL()), `SELECT * FROM kept`)
	if got, want := ownerOf(t, "/proc/"+strconv.Itoa(pg.Pid())), uint32(uid); got != want {
		t.Errorf("got a server of user %d, want %d", got, want)
	}
	stop(t, pg)

	// A normal user can't run a cluster of another user.
	other := stateDir(t)
	stop(t, start(t, other))
	if ownerOf(t, filepath.Join(other, "postgres")) == uint32(uid) {
		t.Skip("no user postgres")
	}
	h = startHelper(t, other, executable, attr)
	_ = h.cmd.Wait()
	if want := "belongs to user"; !strings.Contains(h.line, want) {
		t.Errorf("got %q, want %q", h.line, want)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can run programs as another user")
	}
}

func ownerOf(t *testing.T, path string) uint32 {
	t.Helper()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return fi.Sys().(*syscall.Stat_t).Uid
}

func copyFile(t *testing.T, to, from string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}
