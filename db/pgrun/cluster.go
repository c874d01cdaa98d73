package pgrun

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cluster is a data directory, and the account and the binaries that serve it.
type cluster struct {
	home     string // owned by the account, mode 0700
	data     string // in home; if it exists, it is complete
	account  account
	binaries binaries
}

// halfMade is the prefix of the name of a data directory under construction.
const halfMade = "data.new-"

// prepare finds the binaries, checks that the account can use the cluster, and
// makes the data directory if it is missing. It never changes or removes an
// existing data directory.
func (c *cluster) prepare(ctx context.Context, cfg Config, claim *os.File) error {
	major, err := dataVersion(c.data)
	if err != nil {
		return err
	}
	c.binaries, err = obtainBinaries(ctx, c.account, cfg, major)
	if err != nil {
		return err
	}
	if err := c.reachable(ctx); err != nil {
		return err
	}
	c.removeHalfMade()
	if major != 0 {
		return c.removeStalePidFile()
	}
	cfg.Progress("creating a private Postgres " + strconv.Itoa(c.binaries.major) + " in " + c.data)
	return c.create(ctx, claim)
}

// dataVersion returns the major version of Postgres that made the data
// directory, or 0 if the directory does not exist.
func dataVersion(data string) (int, error) {
	b, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(data); err == nil {
			return 0, fmt.Errorf("%s is no Postgres data directory: move it away or choose another -state",
				data)
		}
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0, fmt.Errorf("version of the data directory %s: %w", data, err)
	}
	return major, nil
}

// reachable checks that the account can enter the cluster's home. It tries it
// instead of reading permission bits, because access depends on more than those.
func (c *cluster) reachable(ctx context.Context) error {
	if !c.account.other || c.enters(ctx, c.home) {
		return ctx.Err()
	}
	blocked := c.home
	for dir := c.home; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if !c.enters(ctx, dir) {
			blocked = dir
		}
	}
	return fmt.Errorf("postgres refuses root and runs as user %s, who cannot enter %s: choose "+
		"another -state, "+
		"such as /var/lib/fabric-guild, or \"chmod o+x\" that directory, or pass -database-url",
		c.account.name, blocked)
}

// enters reports whether the account can run Postgres in dir.
func (c *cluster) enters(ctx context.Context, dir string) bool {
	return c.account.command(ctx, dir, c.binaries.path("postgres"), "-V").Run() == nil
}

// create builds a data directory with its role and database under a temporary
// name in home, and renames it when it is complete. If a crash or an error
// leaves an incomplete directory, the next start removes it.
func (c *cluster) create(ctx context.Context, claim *os.File) error {
	next := filepath.Join(c.home, halfMade+strconv.FormatInt(time.Now().UnixNano(), 36))
	if err := c.build(ctx, next, claim); err != nil {
		return err
	}
	if err := os.Rename(next, c.data); err != nil {
		return err
	}
	return syncDir(c.home)
}

// build runs initdb on data, and makes the role and the database.
func (c *cluster) build(ctx context.Context, data string, claim *os.File) error {
	initdb := func(letters string) error {
		return runTool(ctx, c.account.command(ctx, c.home, c.binaries.path("initdb"),
			"--pgdata="+data, "--username="+Superuser, "--encoding=UTF8", "--locale=C", "--lc-ctype="+letters,
			"--data-checksums",
			// The socket's directory decides who may connect.
			"--auth-local=trust", "--auth-host=reject"), claim)
	}
	// With C, Postgres knows capital letters of ASCII only, so that a search for über does not find Über.
	err := initdb("C.UTF-8")
	if err != nil && strings.Contains(err.Error(), "locale") {
		err = initdb("C") // this machine does not have the other one
	}
	if err != nil {
		return err
	}
	// The server's single-user mode needs no socket and leaves nothing running.
	single := c.account.command(ctx, c.home, c.binaries.path("postgres"),
		"--single", "-D", data, "-c", "exit_on_error=on", "template1")
	single.Stdin = strings.NewReader("CREATE ROLE " + Owner + " LOGIN;\n" +
		"CREATE DATABASE " + Owner + " OWNER " + Owner + ";\n")
	return runTool(ctx, single, claim)
}

// runTool runs a command until it ends. On Linux the command dies with this
// process. Its processes inherit the server lock.
func runTool(ctx context.Context, cmd *exec.Cmd, claim *os.File) error {
	runtime.LockOSThread() // the kernel sends the death signal when this thread ends
	defer runtime.UnlockOSThread()
	setDeathSignal(cmd.SysProcAttr)
	cmd.ExtraFiles = []*os.File{claim}
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", filepath.Base(cmd.Path), ctx.Err())
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, summary(string(out)))
	}
	return nil
}

// removeHalfMade removes incomplete data directories that a crash in create
// left. The caller must hold the server lock, so that no process uses them.
func (c *cluster) removeHalfMade() {
	entries, err := os.ReadDir(c.home)
	if err != nil {
		return
	}
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), halfMade) {
			_ = os.RemoveAll(filepath.Join(c.home, e.Name()))
		}
	}
}

// removeStalePidFile removes the pid file of a killed server if its process id
// now belongs to a zombie or to an unrelated process. Postgres would mistake
// that process for a running server. If no process has the id, Postgres detects
// that itself. removeStalePidFile returns an error if a server really runs.
func (c *cluster) removeStalePidFile() error {
	path := filepath.Join(c.data, "postmaster.pid")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	line, _, _ := strings.Cut(string(b), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || pid <= 0 || errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return nil
	}
	switch serves(pid, c.data) {
	case yes:
		return fmt.Errorf("%s is served by process %d, which was not started from here: stop it first",
			c.data, pid)
	case no:
		return os.Remove(path)
	}
	return nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
