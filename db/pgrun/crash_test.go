package pgrun

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"fabric-guild/events/ssetest"
)

func TestKilledServerIsRestartedAtTheSameURL(t *testing.T) {
	t.Parallel()
	pg := start(t, stateDir(t))
	pool, err := pgxpool.New(t.Context(), pg.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if _, err := pool.Exec(t.Context(), `CREATE TABLE kept AS SELECT 42 AS n`); err != nil {
		t.Fatal(err)
	}
	// The lock file of the socket names an unrelated process, as if that process had
	// got the killed server's process id.
	lock := filepath.Join(pg.sockets, socketName+".lock")
	if err := os.WriteFile(lock, fmt.Appendln(nil, stranger(t, pg.cluster, "sleep", "600")),
		0o600); err != nil {
		t.Fatal(err)
	}
	before := pg.Pid()
	if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var got int
	eventually(t, "the pool recovers", func() bool {
		return restarted(pg, before) && pool.QueryRow(t.Context(), `SELECT n FROM kept`).Scan(&got) == nil
	})
	if want := 42; got != want {
		t.Errorf("got %d, want %d", got, want)
	}
	pool.Close()
	stop(t, pg)
	verifyChecksums(t, pg.cluster)
}

// restarted reports whether another server runs than the one with a process id. While none runs, backends of
// the killed server may still answer.
func restarted(pg *Postgres, before int) bool { return pg.Pid() != before && pg.Pid() != 0 }

// A cleanup program may remove the socket's directory or only the socket. The server process still runs, but
// nobody can connect any more. So the server is restarted, at the same URL.
func TestRemovedSocketIsMadeAgain(t *testing.T) {
	t.Parallel()
	quick := defaultRestarts
	quick.lookEvery = 20 * time.Millisecond
	pg := startWith(t, Config{Dir: stateDir(t), restarts: quick})
	exec1(t, connect(t, pg.URL()), `CREATE TABLE kept AS SELECT 42 AS n`)
	for name, remove := range map[string]func() error{
		"directory": func() error { return os.RemoveAll(pg.sockets) },
		"socket":    func() error { return os.Remove(filepath.Join(pg.sockets, socketName)) },
	} {
		before := pg.Pid()
		if err := remove(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the server accepts connections after its "+name+" was removed", func() bool {
			return restarted(pg, before) && ping(t.Context(), pg.URL()) == nil
		})
		if got := query[int](t, connect(t, pg.URL()), `SELECT n FROM kept`); got != 42 {
			t.Errorf("got %d, want 42", got)
		}
		fi, err := os.Lstat(pg.sockets)
		if err != nil {
			t.Fatal(err)
		}
		if got := fi.Mode().Perm(); got != 0o700 || fi.Sys().(*syscall.Stat_t).Uid != pg.cluster.account.uid {
			t.Errorf("got mode %o of the socket's directory, want 700 and the server's user as the owner",
				got)
		}
	}
	stop(t, pg)
	verifyChecksums(t, pg.cluster)
}

// If another user puts a directory at the path of the socket's directory, no server uses it.
func TestForeignSocketDirectoryIsNotUsed(t *testing.T) {
	t.Parallel()
	dir := filepath.Dir(stateDir(t))
	c := cluster{account: accountOfTest(t)}
	for name, make := range map[string]func(path string) error{
		"open to others": func(path string) error {
			return errors.Join(os.Mkdir(path, 0o700), c.account.own(path), os.Chmod(path, 0o755))
		},
		"that others can enter": func(path string) error {
			return errors.Join(os.Mkdir(path, 0o700), os.Chmod(path, 0o701))
		},
		"a link": func(path string) error { return os.Symlink("/tmp", path) },
	} {
		path := filepath.Join(dir, socketDirPrefix+name)
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		if err := c.restoreSocketDir(path); err == nil {
			t.Errorf("%s: the directory was used, want an error", name)
		}
	}
	mine := filepath.Join(dir, socketDirPrefix+"mine")
	for range 2 {
		if err := c.restoreSocketDir(mine); err != nil {
			t.Errorf("got %v, want the directory made first and used again then", err)
		}
	}
}

// The socket is in the state directory, where no cleanup program removes it, unless its path would be too
// long there.
func TestSocketIsInTheStateDirectory(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	if err := MakeDirs(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	// makeSocketDir runs a program of the server as its account, so this test needs a
	// complete cluster.
	pg := start(t, dir)
	if got := filepath.Dir(pg.sockets); got != dir {
		t.Errorf("got the socket's directory in %s, want %s", got, dir)
	}
	deep := filepath.Join(dir, strings.Repeat("long", 20))
	if err := MakeDirs(deep, 0o711); err != nil {
		t.Fatal(err)
	}
	sockets, err := pg.cluster.makeSocketDir(t.Context(), socketPlaces("", deep))
	if err != nil {
		t.Fatal(err)
	}
	defer removeSocketDir(sockets)
	if strings.HasPrefix(sockets, dir) || len(filepath.Join(sockets, socketName)) > socketPathMax {
		t.Errorf("got %s, want a shorter path", sockets)
	}
}

func TestSupervisorGivesUpAfterTooManyDeaths(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	found, err := findBinaries(t.Context(), accountOfTest(t), "", 0, usualPlaces())
	if err != nil {
		t.Skip(err)
	}
	bin := filepath.Join(filepath.Dir(dir), "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"postgres", "initdb"} {
		if err := os.Symlink(found.path(name), filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	pg := startWith(t, Config{Dir: dir, BinDir: bin, restarts: restartPolicy{
		firstPause:   time.Millisecond,
		longestPause: 2 * time.Millisecond,
		youngAge:     time.Minute,
		youngDeaths:  3,
		lookEvery:    time.Minute,
	}})
	if err := os.Remove(filepath.Join(bin, "postgres")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pg.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {
	case <-pg.Done():
	case <-time.After(ssetest.Patience):
		t.Fatal("Done stays open, want it closed after the last attempt")
	}
	wantError(t, pg.Err(), "gave up after 3 attempts", bin)
	wantError(t, pg.Stop(t.Context()), "gave up")
	start(t, dir)
}

func TestKilledProgramLeavesACleanCluster(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	h := startHelper(t, dir, self(t), nil)
	conn := connect(t, h.line)
	exec1(t, conn, `CREATE TABLE kept (n int)`)
	// Commit without a pause until the connection breaks.
	committed := make(chan int)
	began := make(chan struct{})
	ctx := context.WithoutCancel(t.Context())
	go func() {
		n := 0
		for {
			if _, err := conn.Exec(ctx, `INSERT INTO kept VALUES ($1)`, n+1); err != nil {
				committed <- n
				return
			}
			n++
			if n == 100 {
				close(began)
			}
		}
	}()
	<-began
	sockets := conn.Config().Host
	if err := h.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = h.cmd.Wait()

	pg := start(t, dir) // at once, while the orphaned server is still shutting down
	want := <-committed
	conn = connect(t, pg.URL())
	// The last insert may have committed although its answer did not arrive.
	if got := query[int](t, conn, `SELECT count(*) FROM kept`); got < want || got > want+1 {
		t.Errorf("got %d rows, want the %d that were committed, or one more", got, want)
	}
	if exists(sockets) {
		t.Errorf("%s of the killed program still exists, want it removed", sockets)
	}
	_ = conn.Close(t.Context())
	stop(t, pg)
	verifyChecksums(t, pg.cluster)
}

func TestStartWaitsForAnOrphanedServer(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	h := startHelper(t, dir, self(t), nil)
	conn := connect(t, h.line)
	exec1(t, conn, `CREATE TABLE kept AS SELECT 1`)
	resume := suspend(t, conn) // the shutdown waits for this backend
	if err := h.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = h.cmd.Wait()

	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := Start(ctx, Config{Dir: dir})
	wantError(t, err, "an earlier Postgres in "+dir+" has not ended")

	var told []string
	pg := startWith(t, Config{Dir: dir, Progress: func(line string) {
		told = append(told, line)
		resume()
	}})
	if len(told) != 1 || !strings.Contains(told[0], "waiting") {
		t.Errorf("got progress lines %q, want one about the wait", told)
	}
	query[int](t, connect(t, pg.URL()), `SELECT * FROM kept`)
	if exists(conn.Config().Host) {
		t.Errorf("%s of the killed program still exists, want it removed", conn.Config().Host)
	}
}

func TestStalePidFile(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	pg := start(t, dir)
	stop(t, pg)
	c := pg.cluster
	pidFile := filepath.Join(c.data, "postmaster.pid")
	// All these processes run as the server's user. Postgres itself ignores the
	// processes of other users.
	leave := func(t *testing.T, pid int) {
		t.Helper()
		content := strconv.Itoa(pid) + "\n" + c.data + "\n1\n5432\n/nowhere\n\n  1 1\nready\n"
		if err := os.WriteFile(pidFile, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := c.account.own(pidFile); err != nil {
			t.Fatal(err)
		}
	}

	t.Run("of an unrelated process", func(t *testing.T) {
		leave(t, stranger(t, c, "sleep", "600"))
		stop(t, start(t, dir))
	})
	t.Run("of a zombie", func(t *testing.T) {
		pid := stranger(t, c, "true")
		eventually(t, "the process is a zombie", func() bool {
			stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
			return err == nil && strings.Contains(string(stat), ") Z ")
		})
		leave(t, pid)
		stop(t, start(t, dir))
	})
	t.Run("of a server started by hand", func(t *testing.T) {
		server := c.account.command(t.Context(), c.home, c.binaries.path("postgres"), "-D", c.data,
			"-c", "listen_addresses=", "-c", "unix_socket_directories="+c.home)
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			_ = server.Process.Signal(syscall.SIGINT)
			_ = server.Wait()
		}()
		eventually(t, "the server is ready", func() bool {
			b, err := os.ReadFile(pidFile)
			return err == nil && strings.Contains(string(b), "ready")
		})
		_, err := Start(t.Context(), Config{Dir: dir})
		wantError(t, err, c.data, "is served by process "+strconv.Itoa(server.Process.Pid))
		if !exists(pidFile) {
			t.Error("the pid file of a running server was removed, want it unchanged")
		}
	})
}

// stranger starts a program as the server's user and returns its process id. The
// program is killed at the end of the test.
func stranger(t *testing.T, c cluster, name string, args ...string) int {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	cmd := c.account.command(t.Context(), "/", path, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd.Process.Pid
}

// verifyChecksums checks every page of a cluster. The cluster must be shut down
// cleanly.
func verifyChecksums(t *testing.T, c cluster) {
	t.Helper()
	tool := c.binaries.path("pg_checksums")
	if !exists(tool) {
		t.Skip("no pg_checksums")
	}
	out, err := c.account.command(t.Context(), c.home, tool, "--check", "-D", c.data).CombinedOutput()
	if err != nil {
		t.Errorf("got %v: %s, want correct checksums", err, out)
	}
}

func accountOfTest(t *testing.T) account {
	t.Helper()
	a, err := accountFor(filepath.Join(t.TempDir(), "none"))
	if err != nil {
		t.Fatal(err)
	}
	return a
}
