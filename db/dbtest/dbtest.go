// Package dbtest gives each test a fresh, migrated database on a real
// Postgres: one private cluster per test binary, started by the first test
// that asks, one migrated template in it, and a clone for each test. The
// cluster is a copy of one in the user's cache directory (see seed).
//
// Package db is imported here, so tests of db itself are in package db_test.
package dbtest

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"fabric-guild/db/pgrun"
)

// What takes longer than this hangs.
const patience = 5 * time.Minute

// binary is the cluster of this test binary. Its tests share it, and only
// Main, which outlives them all, can end it.
var binary shared

type shared struct {
	main  bool // Main will clean up
	start sync.Once
	host  *host
	err   error

	mu     sync.Mutex
	clones int
	kept   bool
}

// Main runs the tests and then stops the cluster, if one was started. It
// removes the cluster's directory too, unless a failed test's database is in
// it. The result is for os.Exit:
//
//	func TestMain(m *testing.M) { os.Exit(dbtest.Main(m)) }
func Main(m *testing.M) int {
	binary.main = true
	code := m.Run()
	if binary.host == nil {
		return code
	}
	if err := binary.host.close(binary.kept); err != nil {
		fmt.Fprintln(os.Stderr, "dbtest:", err)
		return max(code, 1)
	}
	return code
}

// New makes a database for the test and returns its URL. The database is
// dropped when the test ends, with whatever is still connected to it. After a
// failure it is kept, and the test's log tells how to reach it. Tests may run
// in parallel: together they have 300 connections.
func New(t testing.TB) string {
	t.Helper()
	if !binary.main {
		t.Fatal("dbtest.New needs func TestMain(m *testing.M) { os.Exit(dbtest.Main(m)) }")
	}
	binary.start.Do(binary.open)
	if binary.err != nil {
		t.Fatal("start the tests' Postgres:", binary.err)
	}
	name := binary.name()
	if err := binary.administer(t.Context(), "CREATE DATABASE "+name+" TEMPLATE "+pgrun.Owner+" OWNER "+pgrun.Owner); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			binary.keep()
			t.Logf("the test's database is kept; to look at it: %s", binary.host.byHand(name))
			return
		}
		// The test's context has ended.
		if err := binary.administer(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	return binary.host.pg.URLFor(pgrun.Owner, name)
}

// NewCluster starts a cluster for this test alone, its database migrated, for
// tests that hurt the server. Settings ("max_connections=20") win over the
// built-in ones. It is stopped and removed when the test ends, and kept on disk
// after a failure. It needs no Main.
func NewCluster(t testing.TB, settings ...string) *pgrun.Postgres {
	t.Helper()
	h, err := newMigratedHost(t.Context(), t.Output(), settings)
	return h.until(t, err)
}

// newCluster starts one that fill has put into the state directory.
func newCluster(t testing.TB, fill func(state string) error, settings []string) *pgrun.Postgres {
	t.Helper()
	h, err := newHost(t.Context(), t.Output(), fill, settings)
	return h.until(t, err)
}

// until has the cluster stop at the test's end; err is that of its start.
func (h *host) until(t testing.TB, err error) *pgrun.Postgres {
	t.Helper()
	if err != nil {
		t.Fatal("start a Postgres for the test: ", err)
	}
	t.Cleanup(func() {
		if err := h.close(t.Failed()); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the test's cluster is kept; to look at it: %s", h.byHand(pgrun.Owner))
		}
	})
	return h.pg
}

// Connect opens a connection of the test's own, which is closed when the test ends.
func Connect(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func (s *shared) open() {
	// Not a test's context: the cluster outlives the test that came first.
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s.host, s.err = newMigratedHost(ctx, os.Stderr, nil)
}

func (s *shared) name() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clones++
	return fmt.Sprintf("test_%d", s.clones)
}

func (s *shared) keep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = true
}

// administer runs a statement that no transaction may hold.
func (s *shared) administer(ctx context.Context, statement string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.host.pg.URLFor(pgrun.Superuser, "postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, statement); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}
