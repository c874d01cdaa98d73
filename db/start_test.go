package db_test

import (
	"context"
	"testing"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"

	"github.com/google/go-cmp/cmp"
)

// A start of a server opens few connections: each costs Postgres a process, and what the process must read
// before it can run a statement.
func TestAStartNeedsFewConnections(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		start func(t *testing.T, url string)
		want  int
	}{
		{"migrate a current schema", func(t *testing.T, url string) {
			if err := db.Migrate(t.Context(), url); err != nil {
				t.Fatal(err)
			}
		}, 1},
		{"open, and find the end of the event log", func(t *testing.T, url string) {
			d, err := db.Open(t.Context(), url)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if _, err := d.Head(t.Context()); err != nil {
				t.Fatal(err)
			}
		}, 2}, // one of each pool
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			url := dbtest.New(t)
			watcher := dbtest.Connect(t, url)
			sessions := func() int {
				return column[int](t, watcher,
					`SELECT sessions FROM pg_stat_database WHERE datname = current_database()`)[0]
			}
			eventually(t, "Postgres has counted this connection", func() bool { return sessions() == 1 })
			c.start(t, url)
			eventually(t, "the connections have ended", func() bool { // they are counted before that
				const others = `SELECT pid FROM pg_stat_activity
					WHERE datname = current_database() AND pid <> pg_backend_pid()`
				return len(column[int](t, watcher, others)) == 0
			})
			got := sessions() - 1
			if got > c.want {
				t.Errorf("got %d connections, want %d at most", got, c.want)
			}
		})
	}
}

// The tailer's first connection has found out how to talk to Postgres. It gets the same settings as the
// connections that are opened with them.
func TestTheFirstConnectionHasTheSettings(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	c := dbtest.Connect(t, url)
	exec(t, c, `DO $$ BEGIN
		EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database());
		EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = serializable',
			current_database());
	END $$`)
	d := openURL(t, url)
	first, later, err := d.SettingsInForce(context.WithoutCancel(t.Context()))
	if diff := cmp.Diff(later, first); err != nil || diff != "" {
		t.Errorf("got %v, and other settings (-later connection +first one):\n%s", err, diff)
	}
	if got := first["synchronous_commit"]; got != "on" {
		t.Errorf("got synchronous_commit = %q, want on", got)
	}
}
