package dbtest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fabric-guild/db/dbtest"
)

// Test binaries that start at the same time make one seed; what a killed maker has left is removed, and so is
// what nobody has used for long.
func TestSeedIsMadeOnce(t *testing.T) {
	if os.Getenv(asChild) == t.Name() {
		wantMigrated(t)
		return
	}
	t.Parallel()
	cache := t.TempDir()
	seeds := filepath.Join(cache, "fabric-guild", "dbtest")
	for _, dir := range []string{"killed.new", "old", "young"} {
		if err := os.MkdirAll(filepath.Join(seeds, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	long := time.Now().Add(-30 * 24 * time.Hour)
	if err := os.Chtimes(filepath.Join(seeds, "old"), long, long); err != nil {
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
			t.Error("a test binary on a shared seed:", err)
		}
	}
	var names []string
	entries, err := os.ReadDir(seeds)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if err != nil || len(names) != 3 || !strings.Contains(strings.Join(names, " "), "lock young") {
		t.Errorf("got %q and %v, want one seed, the lock, and what is young", names, err)
	}
}

func TestWithoutAHomeThereIsNoSeed(t *testing.T) {
	if os.Getenv(asChild) == t.Name() {
		wantMigrated(t)
		return
	}
	t.Parallel()
	cmd := child(t)
	cmd.Env = append(cmd.Env, "XDG_CACHE_HOME=", "HOME=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("got %v, want a cluster of its own: %s", err, out)
	}
}

func wantMigrated(t *testing.T) {
	t.Helper()
	conn := dbtest.Connect(t, dbtest.New(t))
	if _, err := conn.Exec(t.Context(), `SELECT FROM goose_db_version`); err != nil {
		t.Error(err)
	}
}
