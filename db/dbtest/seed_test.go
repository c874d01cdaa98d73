package dbtest_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"fabric-guild/db/dbtest"
)

// Test binaries that start at the same time make only one seed, which is small. They also remove the
// incomplete seed of a killed process and a seed that is unused for a long time.
func TestSeedIsMadeOnce(t *testing.T) {
	if os.Getenv(asChild) == t.Name() {
		wantMigrated(t)
		return
	}
	dbtest.Long(t) // two clusters are made
	t.Parallel()
	cache := t.TempDir()
	seeds := filepath.Join(cache, "fabric-guild", "dbtest")
	for _, dir := range []string{"killed.new", "old", "young"} {
		if err := os.MkdirAll(filepath.Join(seeds, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	longAgo := time.Now().Add(-30 * 24 * time.Hour)
	if err := os.Chtimes(filepath.Join(seeds, "old"), longAgo, longAgo); err != nil {
		t.Fatal(err)
	}
	var children []*exec.Cmd
	for range 3 {
		cmd := child(t)
		cmd.Env = append(cmd.Env, "XDG_CACHE_HOME="+cache)
		children = append(children, cmd)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
	}
	for _, cmd := range children {
		if err := cmd.Wait(); err != nil {
			t.Error("a test binary with a shared seed:", err)
		}
	}
	var names []string
	entries, err := os.ReadDir(seeds)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if err != nil || len(names) != 3 || !strings.Contains(strings.Join(names, " "), "lock young") {
		t.Errorf("got %q and %v, want one seed, the lock, and the young seed", names, err)
	}
	const most = 25 << 20 // without the work of slim it has 47 MB
	if got := onDisk(t, seeds); got > most {
		t.Errorf("got a seed of %d bytes, want %d at most", got, most)
	}
}

// onDisk returns how many bytes the files in dir take.
func onDisk(t *testing.T, dir string) (bytes int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			bytes += info.Sys().(*syscall.Stat_t).Blocks * 512
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}

func TestWithoutAHomeThereIsNoSeed(t *testing.T) {
	if os.Getenv(asChild) == t.Name() {
		wantMigrated(t)
		return
	}
	dbtest.Long(t) // a cluster is made
	t.Parallel()
	cmd := child(t)
	cmd.Env = append(cmd.Env, "XDG_CACHE_HOME=", "HOME=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("got %v, want that the test binary makes its own cluster: %s", err, out)
	}
}

func wantMigrated(t *testing.T) {
	t.Helper()
	conn := dbtest.Connect(t, dbtest.New(t))
	if _, err := conn.Exec(t.Context(), `SELECT FROM goose_db_version`); err != nil {
		t.Error(err)
	}
}
