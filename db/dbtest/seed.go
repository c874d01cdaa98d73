package dbtest

import (
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

	"fabric-guild/db"
	"fabric-guild/db/pgrun"
	"fabric-guild/migrations"
)

// seedKept is how long a seed that nobody uses is kept. Each takes about 40 MB.
const seedKept = 7 * 24 * time.Hour

// seed returns the data directory of a cluster that was migrated and stopped, for copyData. It is made once for
// each Postgres and schema and kept in the user's cache directory, for the test binaries of all checkouts. It is
// empty where there is no place to keep one.
func seed(ctx context.Context, log io.Writer) (data string, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", nil // no home: each test binary makes its own cluster
	}
	key, err := seedKey(ctx)
	if err != nil || key == "" {
		return "", err
	}
	all := filepath.Join(cache, "fabric-guild", "dbtest")
	data = filepath.Join(all, key)
	now := time.Now()
	if os.Chtimes(data, now, now) == nil { // it is there; and removeOldSeeds sees that it is used
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
	// A maker that was killed has let go of the lock.
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	if _, err := os.Stat(data); err == nil {
		return data, nil
	}
	removeOldSeeds(all)
	return data, makeSeed(ctx, log, data)
}

// makeSeed leaves a complete seed at data or none.
func makeSeed(ctx context.Context, log io.Writer, data string) error {
	h, err := newHost(ctx, log, nil, nil)
	if err != nil {
		return err
	}
	err = db.Migrate(ctx, h.pg.URL())
	if err == nil {
		err = h.pg.Stop(ctx)
	}
	next := data + ".new"
	if err == nil {
		err = copyTree(ctx, filepath.Join(h.state(), "postgres", "data"), next)
	}
	if err == nil {
		syscall.Sync() // a crash of the machine must not leave half of it under its name
		err = os.Rename(next, data)
	}
	return errors.Join(err, h.close(false))
}

// removeOldSeeds removes what nobody has used for long, and what a maker that was killed has left. Its caller holds
// the lock.
func removeOldSeeds(all string) {
	entries, err := os.ReadDir(all)
	if err != nil {
		return
	}
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && e.IsDir() && (strings.HasSuffix(e.Name(), ".new") || time.Since(info.ModTime()) > seedKept) {
			_ = os.RemoveAll(filepath.Join(all, e.Name()))
		}
	}
}

// copyData fills a state directory with a seed.
func copyData(ctx context.Context, data, state string) error {
	home := filepath.Join(state, "postgres")
	if err := errors.Join(os.Mkdir(state, 0o711), os.Chmod(state, 0o711), os.Mkdir(home, 0o700)); err != nil {
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

// copyTree copies a directory with its modes and, for root, its owners.
func copyTree(ctx context.Context, from, to string) error {
	out, err := exec.CommandContext(ctx, "cp", "-a", from, to).CombinedOutput()
	if err != nil {
		return fmt.Errorf("copy %s: %w: %s", from, err, out)
	}
	return nil
}

// seedKey stands for all that makes a seed what it is: the Postgres, the migrations, and the sources of what runs
// them. It is empty where the sources are not found, from which a test binary was built.
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

// hashFiles adds the files of a pattern, without tests.
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

// moduleRoot is the directory of this module's go.mod; go test runs tests below it.
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
