package db_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"
	"fabric-guild/events/ssetest"

	"github.com/jackc/pgx/v5"
)

// A database that answers but accepts no changes is detected, even through a connection that is older than
// the setting. The error says what to do. Of the settings for everybody, the database and its user, the
// narrowest counts.
func TestAReadOnlyDatabaseIsDetected(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	d := openURL(t, url)
	admin := dbtest.Connect(t, url)
	alter := func(what, value string) {
		exec(t, admin, `BEGIN READ WRITE`)
		exec(t, admin, `DO $$ BEGIN EXECUTE format('ALTER `+what+` SET default_transaction_read_only = `+
			value+`', current_database(), current_user); END $$`)
		exec(t, admin, `COMMIT`)
	}
	taken := func(want string) {
		t.Helper()
		d.ForgetTry()
		err := d.TakesChanges(t.Context())
		if want == "" && err != nil || want != "" && !strings.Contains(advised(err), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	taken("")
	alter(`DATABASE %1$I`, "on")
	taken("default_transaction_read_only is on")
	alter(`ROLE %2$I IN DATABASE %1$I`, "off")
	taken("")
	alter(`ROLE %2$I IN DATABASE %1$I`, "yes")
	taken("default_transaction_read_only is on")
	if err := d.Ping(t.Context()); err != nil {
		t.Errorf("got %v, want a database that answers", err)
	}
}

// A try leaves nothing behind: no row, dead or alive. But it committed a transaction and allocated disk
// space.
func TestATryLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	openURL(t, url).Close() // begins an epoch
	admin := dbtest.Connect(t, url)
	awaitNobody(t, admin)
	d := openURL(t, url)
	const tries = 3
	const rows = `SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::bigint FROM pg_stat_all_tables
		WHERE schemaname = 'public'`
	const number = `SELECT pg_current_xact_id()::text::bigint`
	const spilled = `SELECT temp_files FROM pg_stat_database WHERE datname = current_database()`
	exec(t, admin, `SELECT pg_stat_force_next_flush()`)
	written, before, files := number64(t, admin, rows), number64(t, admin, number),
		number64(t, admin, spilled)
	for range tries {
		d.ForgetTry()
		if err := d.TakesChanges(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := number64(t, admin, number) - before; got < tries+1 {
		t.Errorf("got %d transactions with a number, want one for each try and one for this question", got)
	}
	d.Close()
	awaitNobody(t, admin)
	if got := number64(t, admin, spilled) - files; got < tries {
		t.Errorf("got %d temporary files, want one for each try", got)
	}
	if got := number64(t, admin, rows); got != written {
		t.Errorf("got %d rows written, want none", got-written)
	}
}

// awaitNobody waits until c is the database's only connection. A process of Postgres reports its statistics
// before it ends, but after its client has gone.
func awaitNobody(t *testing.T, c *pgx.Conn) {
	t.Helper()
	const others = `SELECT count(*) FROM pg_stat_activity
		WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'`
	if !ssetest.Await(func() bool { return number64(t, c, others) == 0 }) {
		t.Fatal("the other connections have not ended")
	}
}

// advised returns the advice of a NoChangesError.
func advised(err error) string {
	if e, ok := errors.AsType[*db.NoChangesError](err); ok {
		return e.Advice
	}
	return ""
}

func number64(t *testing.T, c *pgx.Conn, sql string) (n int64) {
	t.Helper()
	if err := c.QueryRow(t.Context(), sql).Scan(&n); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// All callers within some seconds share one try.
func TestCallersShareATry(t *testing.T) {
	t.Parallel()
	d := openURL(t, dbtest.New(t))
	tries := d.CountTries()
	results := make(chan error, 50)
	for range cap(results) {
		go func() { results <- d.TakesChanges(t.Context()) }()
	}
	for range cap(results) {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if got := tries.Load(); got != 1 {
		t.Errorf("got %d tries for %d callers, want one", got, cap(results))
	}
}

// A commit that hangs is no success, and callers meanwhile start no second one.
func TestATryThatHangsIsNoSuccess(t *testing.T) {
	t.Parallel()
	d := openURL(t, dbtest.New(t))
	release := make(chan struct{})
	d.HoldTries(release)
	tries := d.CountTries()
	for range 2 {
		if err := d.TakesChanges(t.Context()); !strings.Contains(advised(err), "not committed within") {
			t.Errorf("got %v, want that it takes too long", err)
		}
	}
	if got := tries.Load(); got != 1 {
		t.Errorf("got %d tries, want one", got)
	}
	close(release)
	deadline := time.Now().Add(2 * time.Minute)
	for d.TakesChanges(t.Context()) != nil {
		if time.Now().After(deadline) {
			t.Fatal("got no success once the commits go through")
		}
	}
}
