package dbtest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"fabric-guild/db"
	"fabric-guild/db/pgrun"
)

// host is a cluster in its own temporary directory.
type host struct {
	pg  *pgrun.Postgres
	dir string
	// use is a lock file. A test binary holds the lock while it uses the directory,
	// even if it hangs. When a test binary is killed, the kernel unlocks the file.
	use *os.File
}

const (
	dirPrefix = "fabric-dbtest-"
	stateName = "state"
	useName   = "in-use"
	keptName  = "kept"
)

// newMigratedHost starts a cluster with a migrated database. It copies the seed. If there is no seed, it
// makes a new cluster.
func newMigratedHost(ctx context.Context, log io.Writer, settings []string) (*host, error) {
	data, err := seed(ctx, log)
	if err != nil {
		return nil, err
	}
	if data != "" {
		return newHost(ctx, log, func(state string) error { return copyData(ctx, data, state) }, settings)
	}
	h, err := newHost(ctx, log, nil, settings)
	if err != nil {
		return nil, err
	}
	if err := db.Migrate(ctx, h.pg.URL()); err != nil {
		return nil, errors.Join(err, h.close(false))
	}
	return h, nil
}

// newHost starts the cluster that fill puts into the state directory. If fill is nil, newHost makes a new
// cluster. log gets warnings of Postgres.
func newHost(
	ctx context.Context, log io.Writer, fill func(state string) error, settings []string,
) (_ *host, err error) {
	removeAbandoned()
	h := &host{}
	h.dir, err = os.MkdirTemp(place(), dirPrefix)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(h.dir)
		}
	}()
	// If root runs the tests, another user runs Postgres and must be able to enter.
	if err := os.Chmod(h.dir, 0o711); err != nil {
		return nil, err
	}
	h.use, err = createLocked(filepath.Join(h.dir, useName))
	if err != nil {
		return nil, err
	}
	all := map[string]string{"max_connections": "300"}
	for _, s := range settings {
		name, value, _ := strings.Cut(s, "=")
		all[name] = value
	}
	if fill != nil {
		err = fill(h.state())
	}
	if err != nil {
		return nil, errors.Join(err, h.use.Close())
	}
	h.pg, err = pgrun.Start(ctx, pgrun.Config{
		Dir:      h.state(),
		RunDir:   h.dir,
		Settings: all,
		Logger:   slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return nil, errors.Join(err, h.use.Close())
	}
	return h, nil
}

// close stops the cluster and unlocks its directory. It removes the directory, or with keep marks it as kept.
func (h *host) close(keep bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := h.pg.Stop(ctx); err != nil {
		return err
	}
	if keep {
		return errors.Join(os.WriteFile(filepath.Join(h.dir, keptName), nil, 0o600), h.use.Close())
	}
	return errors.Join(os.RemoveAll(h.dir), h.use.Close())
}

// inMemory reports whether the cluster is not on a disk.
func (h *host) inMemory() bool { return filepath.Dir(h.dir) == memory }

func (h *host) state() string { return filepath.Join(h.dir, stateName) }

// byHand returns a shell command that opens a database of the cluster. It works
// after the test binary has ended. It starts a server, which runs until
// "pg_ctl stop".
func (h *host) byHand(database string) string {
	home := filepath.Join(h.state(), "postgres")
	data := filepath.Join(home, "data")
	// The first word is the path of the last server.
	opts, err := os.ReadFile(filepath.Join(data, "postmaster.opts"))
	if err != nil {
		return err.Error()
	}
	server, _, _ := strings.Cut(string(opts), ` "`)
	bin := filepath.Dir(server)
	start := fmt.Sprintf("%s -D %s -l %s -w -o %s start", quote(filepath.Join(bin, "pg_ctl")), quote(data),
		quote(filepath.Join(home, "by-hand.log")), quote("-c listen_addresses= -k "+quote(home)))
	if owner := ownerOf(data); os.Geteuid() == 0 {
		start = "su -s /bin/sh -c " + quote(start) + " " + owner
	}
	psql := quote(filepath.Join(bin, "psql"))
	return fmt.Sprintf("%s && %s -h %s -U %s %s", start, psql, quote(home), pgrun.Superuser, database)
}

// createLocked makes a locked file. It locks the file before the rename, so no other process sees the file
// unlocked.
func createLocked(path string) (*os.File, error) {
	f, err := os.Create(path + ".new")
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// memory is a file system in memory, and roomy is how many bytes must be free in it. A database consists of
// about 300 files. To copy and to remove them costs five times as much CPU time on a disk.
const (
	memory = "/dev/shm"
	roomy  = 4 << 30
)

// place returns the directory for new clusters. Benchmarks are on the disk, as servers are.
func place() string {
	var fs syscall.Statfs_t
	bench := flag.Lookup("test.bench")
	if bench != nil && bench.Value.String() != "" {
		return os.TempDir()
	}
	if syscall.Statfs(memory, &fs) != nil || uint64(fs.Bavail)*uint64(fs.Bsize) < roomy {
		return os.TempDir()
	}
	return memory
}

// removeAbandoned removes the directories of test binaries that were killed.
func removeAbandoned() {
	inMemory, _ := filepath.Glob(filepath.Join(memory, dirPrefix+"*"))
	onDisk, _ := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"*"))
	for _, dir := range append(inMemory, onDisk...) {
		if _, err := os.Lstat(filepath.Join(dir, keptName)); err == nil {
			continue
		}
		// Another test binary is still making a directory without this file.
		use, err := os.OpenFile(filepath.Join(dir, useName), os.O_RDWR|syscall.O_NOFOLLOW, 0)
		if err != nil {
			continue
		}
		if syscall.Flock(int(use.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			// Remove the lock file last: a dying server may make the first step fail, and then a later call
			// must find the directory again.
			if os.RemoveAll(filepath.Join(dir, stateName)) == nil {
				_ = os.RemoveAll(dir)
			}
		}
		_ = use.Close()
	}
}

// ownerOf returns the name of the owner of path.
func ownerOf(path string) string {
	fi, err := os.Stat(path)
	if err != nil {
		return "postgres"
	}
	id := strconv.FormatUint(uint64(fi.Sys().(*syscall.Stat_t).Uid), 10)
	u, err := user.LookupId(id)
	if err != nil {
		return id
	}
	return u.Username
}

// quote quotes s for a shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
