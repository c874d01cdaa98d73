package pgrun

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestIncompleteClusterIsReplaced(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	pg := start(t, dir)
	stop(t, pg)
	// This is the state after the program was killed just before the rename.
	left := filepath.Join(pg.cluster.home, halfMade+"x")
	if err := os.Rename(pg.cluster.data, left); err != nil {
		t.Fatal(err)
	}
	pg = start(t, dir)
	connect(t, pg.URL())
	if exists(left) {
		t.Errorf("%s still exists, want it removed", left)
	}
}

func TestInterruptedCreationLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Start(ctx, Config{Dir: dir, Progress: func(string) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	entries, err := os.ReadDir(filepath.Join(dir, "postgres"))
	if err != nil || len(entries) > 0 {
		t.Errorf("got %v and %v, want an empty directory", entries, err)
	}
	connect(t, start(t, dir).URL())
}

func TestForeignDataDirectoryIsKept(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	pg := start(t, dir)
	stop(t, pg)
	if err := os.Rename(pg.cluster.data, pg.cluster.data+".away"); err != nil {
		t.Fatal(err)
	}
	precious := filepath.Join(pg.cluster.data, "precious")
	if err := os.MkdirAll(precious, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := Start(t.Context(), Config{Dir: dir})
	wantError(t, err, pg.cluster.data, "no Postgres data directory")
	if !exists(precious) {
		t.Error("the directory was removed, want it unchanged")
	}
}

func TestDataOfAnotherMajorVersionIsRefused(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	pg := start(t, dir)
	exec1(t, connect(t, pg.URL()), `CREATE TABLE kept AS SELECT 1`)
	stop(t, pg)
	file := filepath.Join(pg.cluster.data, "PG_VERSION")
	real, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("9\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Start(t.Context(), Config{Dir: dir})
	wantError(t, err, "made by Postgres 9", "install Postgres 9", "pg_upgrade")

	if err := os.WriteFile(file, real, 0o600); err != nil {
		t.Fatal(err)
	}
	query[int](t, connect(t, start(t, dir).URL()), `SELECT * FROM kept`)
}

func TestFailedStartReturnsWhatPostgresLogged(t *testing.T) {
	t.Parallel()
	settings := map[string]string{"shared_buffers": "nonsense"}
	_, err := Start(t.Context(), Config{Dir: stateDir(t), Settings: settings})
	wantError(t, err, "postgres ended", "shared_buffers", "nonsense")
}

// A machine without the locale for letters beyond ASCII gets a cluster all the same.
func TestMachineWithoutTheLocale(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	found, err := findBinaries(t.Context(), accountOfTest(t), "", 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(filepath.Dir(dir), "bin")
	err = errors.Join(os.Mkdir(bin, 0o755),
		os.Symlink(found.path("postgres"), filepath.Join(bin, "postgres")),
		os.WriteFile(filepath.Join(bin, "initdb"), []byte(`#!/bin/sh
			case "$*" in *UTF-8*) echo "initdb: error: invalid locale name" >&2; exit 1 ;; esac
			exec `+found.path("initdb")+` "$@"`), 0o755))
	if err != nil {
		t.Fatal(err)
	}
	connect(t, startWith(t, Config{Dir: dir, BinDir: bin}).URL())
}
