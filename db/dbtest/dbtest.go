// Package dbtest gives each test a fresh, migrated database on a real Postgres.
// Each test binary has one private cluster with one migrated template, and each
// test gets a clone of the template. The first call of New starts the cluster.
// The cluster is a copy of one in the user's cache directory (see seed).
//
// This package imports package db, so tests of db itself are in package db_test.
package dbtest

import (
	"context"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"fabric-guild/db/pgrun"
)

// patience is how long one step may take. A step that takes longer hangs.
const patience = 5 * time.Minute

// binary is the cluster of this test binary. All tests share it. Only Main can
// stop it, because Main ends after all tests.
var binary shared

type shared struct {
	main bool // Main runs, so it will clean up

	start  sync.Once // sets these
	host   *host
	admin  *pgxpool.Pool // of the superuser
	create string        // the format of the statement that makes a clone; it lacks the name
	err    error

	mu     sync.Mutex
	clones int
	kept   bool
}

// atOnce is the least number of parallel tests. Tests wait for Postgres, timers and other programs. With one
// test per core, a machine with two cores is idle for a fifth of the time.
const atOnce = 4

// Main runs the tests, at least four at once unless -parallel says otherwise. Then
// it stops the cluster if one was started. It also removes the cluster's directory,
// unless the directory has the database of a failed test. The result is for os.Exit:
//
//	func TestMain(m *testing.M) { os.Exit(dbtest.Main(m)) }
func Main(m *testing.M) int {
	flag.Parse()
	chosen := runtime.GOMAXPROCS(0) >= atOnce
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if !chosen {
		_ = flag.Set("test.parallel", strconv.Itoa(atOnce))
	}
	binary.main = true
	code := m.Run()
	if binary.host == nil { // no test called New
		return code
	}
	if binary.admin != nil {
		binary.admin.Close()
	}
	if err := binary.host.close(binary.kept); err != nil {
		fmt.Fprintln(os.Stderr, "dbtest:", err)
		return max(code, 1)
	}
	return code
}

// Long marks a test that go test -short leaves out. Another test must touch its subject.
func Long(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("left out by -short")
	}
}

// New makes a database for the test and returns its URL. At the end of the test,
// New drops the database and ends all its connections. If the test failed, New
// keeps the database and logs how to open it. Tests may run in parallel. All tests
// together have 300 connections.
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
	if err := binary.administer(t.Context(), fmt.Sprintf(binary.create, name)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			binary.keep()
			t.Logf("the test's database is kept; to look at it: %s", binary.host.byHand(name))
			return
		}
		// The test's context has ended, so this needs another one.
		if err := binary.administer(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	return binary.host.pg.URLFor(pgrun.Owner, name)
}

// NewCluster starts a cluster with a migrated database for this test alone. It is
// for tests that harm the server. Settings such as "max_connections=20" override
// the built-in ones. At the end of the test, NewCluster stops the cluster and
// removes it. If the test failed, it keeps the cluster on disk. NewCluster works
// without Main.
func NewCluster(t testing.TB, settings ...string) *pgrun.Postgres {
	t.Helper()
	h, err := newMigratedHost(t.Context(), t.Output(), settings)
	return h.until(t, err)
}

// newCluster starts the cluster that fill puts into the state directory.
func newCluster(t testing.TB, fill func(state string) error, settings []string) *pgrun.Postgres {
	t.Helper()
	h, err := newHost(t.Context(), t.Output(), fill, settings)
	return h.until(t, err)
}

// until returns the cluster and stops it at the end of the test. err is the error
// of the start: if it is not nil, until ends the test.
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

// Connect opens a connection and closes it at the end of the test.
func Connect(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// economical has settings that save CPU time in a cluster with hundreds of small databases. Dropping a
// database scans all shared buffers, and each new connection would load the library again.
var economical = []string{"shared_buffers=32MB", "shared_preload_libraries=plpgsql"}

// open starts the cluster. It sets host, admin, create and err.
func (s *shared) open() {
	// This is not the context of a test, because the cluster outlives the first test.
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if s.host, s.err = newMigratedHost(ctx, os.Stderr, economical); s.err != nil {
		return
	}
	if s.admin, s.err = pgxpool.New(ctx, s.host.pg.URLFor(pgrun.Superuser, "postgres")); s.err != nil {
		return
	}
	s.create = "CREATE DATABASE %s TEMPLATE " + pgrun.Owner + " OWNER " + pgrun.Owner
	var version int
	const query = `SELECT current_setting('server_version_num')::int`
	s.err = s.admin.QueryRow(ctx, query).Scan(&version)
	if s.host.inMemory() && version >= 150000 {
		// Without a disk to wait for, this takes half of the CPU time.
		s.create += " STRATEGY file_copy"
	}
}

// name returns a new name for a database.
func (s *shared) name() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clones++
	return fmt.Sprintf("test_%d", s.clones)
}

// keep makes Main keep the cluster.
func (s *shared) keep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = true
}

// administer runs a statement as the superuser, outside a transaction.
func (s *shared) administer(ctx context.Context, statement string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if _, err := s.admin.Exec(ctx, statement); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}
