package dbtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"fabric-guild/db"
	"fabric-guild/db/pgrun"
	"fabric-guild/migrations"
)

// seedKept is how long an unused seed is kept. A seed takes about 20 MB.
const seedKept = 7 * 24 * time.Hour

// seed returns the data directory of a migrated and stopped cluster, for copyData. It makes one seed for each
// version of Postgres and of the schema, and keeps the seed in the user's cache directory. The test binaries
// of all checkouts share it. seed returns an empty path if there is no place to keep a seed.
func seed(ctx context.Context, log io.Writer) (data string, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", nil // without a home, each test binary makes its own cluster
	}
	key, err := seedKey(ctx)
	if err != nil || key == "" {
		return "", err
	}
	all := filepath.Join(cache, "fabric-guild", "dbtest")
	data = filepath.Join(all, key)
	now := time.Now()
	// the seed exists; its new time tells removeOldSeeds that it is used
	if os.Chtimes(data, now, now) == nil {
		return data, nil
	}
	if err := os.MkdirAll(all, 0o700); err != nil {
		return "", nil // the home is read-only
	}
	lock, err := os.OpenFile(filepath.Join(all, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer func() { _ = lock.Close() }()
	// If a process was killed while it made the seed, the kernel released its lock.
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	if _, err := os.Stat(data); err == nil {
		return data, nil
	}
	removeOldSeeds(all)
	return data, makeSeed(ctx, log, data)
}

// makeSeed makes a complete seed at data. If it fails, it makes none.
func makeSeed(ctx context.Context, log io.Writer, data string) error {
	// Otherwise the last checkpoint would keep old segments of the WAL.
	h, err := newHost(ctx, log, nil, []string{"wal_recycle=off"})
	if err != nil {
		return err
	}
	err = db.Migrate(ctx, h.pg.URL())
	if err == nil {
		err = slimRunning(ctx, h.pg)
	}
	if err == nil {
		err = h.pg.Stop(ctx)
	}
	made := filepath.Join(h.state(), "postgres", "data")
	if err == nil {
		err = slim(made)
	}
	next := data + ".new"
	if err == nil {
		err = copyTree(ctx, made, next)
	}
	if err == nil {
		syscall.Sync() // after a crash of the machine, an incomplete seed must not have the final name
		err = os.Rename(next, data)
	}
	return errors.Join(err, h.close(false))
}

// slimRunning drops a database that no test needs, and ends the segment of the WAL that has all changes.
func slimRunning(ctx context.Context, pg *pgrun.Postgres) error {
	conn, err := pgx.Connect(ctx, pg.URLFor(pgrun.Superuser, "postgres"))
	if err != nil {
		return err
	}
	for _, statement := range []string{
		`ALTER DATABASE template0 IS_TEMPLATE false`, `DROP DATABASE template0`, `SELECT pg_switch_wal()`,
	} {
		_, failed := conn.Exec(ctx, statement)
		err = errors.Join(err, failed)
	}
	return errors.Join(err, conn.Close(ctx))
}

// slim makes the data directory of a stopped cluster small, so that copies of it are cheap: each cluster of
// the tests is one. It removes the free space maps and visibility maps of all tables, which Postgres can do
// without. So each clone of the database has fewer files too. It makes the WAL sparse, which is mostly zeros.
func slim(data string) (err error) {
	for _, pattern := range []string{"base/*/*_fsm", "base/*/*_vm"} {
		maps, _ := filepath.Glob(filepath.Join(data, pattern))
		for _, name := range maps {
			err = errors.Join(err, os.Remove(name))
		}
	}
	segments, _ := filepath.Glob(filepath.Join(data, "pg_wal", "0*"))
	for _, name := range segments {
		err = errors.Join(err, sparse(name))
	}
	return err
}

// sparse turns the blocks of zeros at the end of a file into a hole.
func sparse(name string) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	used := int64(len(bytes.TrimRight(b, "\x00")))
	// The file becomes as long as before, without blocks for the rest.
	return errors.Join(os.Truncate(name, used), os.Truncate(name, int64(len(b))))
}

// removeOldSeeds removes seeds that are unused for longer than seedKept, and incomplete seeds of killed
// processes. The caller must hold the lock.
func removeOldSeeds(all string) {
	entries, err := os.ReadDir(all)
	if err != nil {
		return
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !e.IsDir() {
			continue
		}
		if strings.HasSuffix(e.Name(), ".new") || time.Since(info.ModTime()) > seedKept {
			_ = os.RemoveAll(filepath.Join(all, e.Name()))
		}
	}
}

// copyData makes a state directory and copies the seed into it.
func copyData(ctx context.Context, data, state string) error {
	home := filepath.Join(state, "postgres")
	err := errors.Join(os.Mkdir(state, 0o711), os.Chmod(state, 0o711), os.Mkdir(home, 0o700))
	if err != nil {
		return err
	}
	if err := copyTree(ctx, data, filepath.Join(home, "data")); err != nil {
		return err
	}
	fi, err := os.Stat(data)
	if err != nil {
		return err
	}
	owner := fi.Sys().(*syscall.Stat_t)
	return os.Lchown(home, int(owner.Uid), int(owner.Gid))
}

// copyTree copies a directory with its modes. If root runs it, it also copies the owners.
func copyTree(ctx context.Context, from, to string) error {
	out, err := exec.CommandContext(ctx, "cp", "-a", from, to).CombinedOutput()
	if err != nil {
		return fmt.Errorf("copy %s: %w: %s", from, err, out)
	}
	return nil
}

// seedKey returns a hash of everything that a seed depends on: the version of Postgres, the migrations, and
// the Go files that run them. It returns an empty key if it does not find those Go files.
func seedKey(ctx context.Context) (string, error) {
	version, err := pgrun.Version(ctx)
	if err != nil {
		return "", err
	}
	root, err := moduleRoot()
	if err != nil {
		return "", nil
	}
	h := sha256.New()
	_, _ = fmt.Fprintln(h, version, os.Geteuid())
	err = hashFiles(h, migrations.FS, "*.sql")
	for _, pattern := range []string{"db/migrate.go", "db/pgrun/*.go", "db/dbtest/*.go"} {
		if err == nil {
			err = hashFiles(h, os.DirFS(root), pattern)
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:12]), err
}

// hashFiles adds the files that match a pattern to h. It leaves out tests.
func hashFiles(h hash.Hash, files fs.FS, pattern string) error {
	names, err := fs.Glob(files, pattern)
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		b, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintln(h, name, len(b))
		_, _ = h.Write(b)
	}
	return nil
}

// moduleRoot returns the directory of this module's go.mod. "go test" runs tests below that directory.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		b, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(b), "module fabric-guild\n") {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fs.ErrNotExist
		}
	}
}
