package db_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"
	"fabric-guild/events"
	"fabric-guild/events/ssetest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

// Behind a pooler each transaction of a connection may run in another process of Postgres.
func TestEverythingWorksBehindAPooler(t *testing.T) {
	dbtest.Long(t) // TestTheDoorbellBypassesAPooler is fast
	t.Parallel()
	pooled, direct := dbtest.NewPooled(t)
	d := openURL(t, pooled)
	channel, created := create(t, d, "alice", "bob")
	const writers, rounds = 16, 20
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for i := range rounds {
				if err := use(t.Context(), d, channel, i); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	want := writers * rounds * 2 // a post and a rename each
	if got := tail(t, d, created.Seq); len(got.Events) != want || got.Pending {
		t.Errorf("got %d events, pending %v; want %d", len(got.Events), got.Pending, want)
	}
	page, err := d.Replay(t.Context(), "bob", created.Seq, created.Seq+int64(want))
	if err != nil || len(page.Events) != min(want, 500) {
		t.Errorf("got %d events in a replay, and %v", len(page.Events), err)
	}
	if n := held(t, direct); n != 0 {
		t.Errorf("got %d advisory locks that are held after all transactions, want none", n)
	}
}

func use(ctx context.Context, d *db.DB, channel uuid.UUID, i int) error {
	if _, err := d.Post(ctx, newMessage(channel, "alice", "hi")); err != nil {
		return fmt.Errorf("post: %w", err)
	}
	err := d.InTx(ctx, func(ctx context.Context, tx db.Tx) error {
		if err := tx.LockChannel(ctx, channel); err != nil {
			return err
		}
		_, err := tx.UpdateChannel(ctx, channel, "alice", db.ChannelUpdate{Name: new(fmt.Sprint("ops", i))})
		return err
	})
	if err != nil {
		return fmt.Errorf("rename: %w", err)
	}
	head, err := d.Head(ctx)
	if err != nil {
		return fmt.Errorf("head: %w", err)
	}
	if _, err := d.Memberships(ctx, []string{"bob"}, head.Seq, events.Place{Left: head.Seq},
		200); err != nil {
		return fmt.Errorf("memberships: %w", err)
	}
	if _, err := d.CheckCursor(ctx, head, events.Cursor{}); err != nil {
		return fmt.Errorf("cursor: %w", err)
	}
	return nil
}

// held returns how many advisory locks are held in a database.
func held(t *testing.T, url string) (n int) {
	t.Helper()
	const count = `SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database
		WHERE locktype = 'advisory' AND datname = current_database()`
	if err := dbtest.Connect(t, url).QueryRow(t.Context(), count).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestConcurrentMigrations(t *testing.T) {
	dbtest.Long(t) // TestMigrationsWaitForTheLock is fast
	t.Parallel()
	for name, urls := range map[string]func() (string, string){
		"direct": func() (string, string) { url := dbtest.New(t); return url, url },
		"pooled": func() (string, string) { return dbtest.NewPooled(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, direct := urls()
			empty(t, direct)
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					if err := db.Migrate(t.Context(), url); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			all, err := db.Migrations(t.Context(), url)
			if err != nil || len(all) == 0 {
				t.Fatalf("got %d migrations and %v", len(all), err)
			}
			for _, m := range all {
				if !m.Applied {
					t.Errorf("got %s pending, want all applied", m.Name)
				}
			}
			if n := held(t, direct); n != 0 {
				t.Errorf("got %d advisory locks that are held afterwards, want none", n)
			}
		})
	}
}

// A schema that a newer program has changed is refused. The error has both versions, and the list shows the
// unknown ones.
func TestANewerSchemaIsRefused(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	all, err := db.Migrations(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	known := all[len(all)-1].Version
	conn := dbtest.Connect(t, url)
	exec(t, conn, `INSERT INTO goose_db_version (version_id, is_applied) VALUES ($1, true), ($2, true)`,
		known+2, known+1)
	err = db.Migrate(t.Context(), url)
	for _, want := range []string{
		fmt.Sprintf("version %d,", known+2), fmt.Sprintf("up to %d:", known),
		"newer",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
	got, err := db.Migrations(t.Context(), url)
	want := append(slices.Clone(all), db.Migration{Version: known + 1, Applied: true},
		db.Migration{Version: known + 2, Applied: true})
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("got %v (-want +got):\n%s", err, diff)
	}
}

// empty removes everything from a database, its migrations too.
func empty(t *testing.T, url string) {
	t.Helper()
	c := dbtest.Connect(t, url)
	exec(t, c, `DROP SCHEMA public CASCADE`)
	exec(t, c, `CREATE SCHEMA public`)
}

// A second process waits for the first one's migrations, and no statement of it holds those up.
func TestMigrationsWaitForTheLock(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	empty(t, url)
	other := dbtest.Connect(t, url)
	exec(t, other, `BEGIN`)
	exec(t, other, `SELECT pg_advisory_xact_lock($1, 0)`, 0x46470003)
	done := make(chan error, 1)
	go func() { done <- db.Migrate(t.Context(), url) }()
	watcher := dbtest.Connect(t, url)
	eventually(t, "somebody tries for the lock", func() bool {
		var tried bool
		const asked = `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
			AND query = 'rollback')`
		if err := watcher.QueryRow(t.Context(), asked).Scan(&tried); err != nil {
			t.Fatal(err)
		}
		return tried
	})
	if len(done) > 0 {
		t.Error("got migrations that are done while somebody else holds their lock, want them to wait")
	}
	exec(t, other, `COMMIT`)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestTheDoorbellBypassesAPooler(t *testing.T) {
	t.Parallel()
	pooled, direct := dbtest.NewPooled(t)
	here, there := openURL(t, pooled), openURL(t, pooled)
	hang(t, here, direct)
	log := hang(t, there, direct)
	await(t, there) // it listens
	drain(there)
	create(t, here, "alice")
	await(t, there)
	if log.String() != "" {
		t.Errorf("got %q, want nothing to tell", log)
	}
}

func TestADoorbellThroughAPoolerIsLogged(t *testing.T) {
	t.Parallel()
	pooled, direct := dbtest.NewPooled(t)
	log := hang(t, openURL(t, pooled), pooled)
	wantToldOnce(t, log, "leads to a connection pooler")
	const listens = `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
		AND query ~ '^(LISTEN|NOTIFY) '`
	var n int
	if err := dbtest.Connect(t, direct).QueryRow(t.Context(), listens).Scan(&n); err != nil || n != 0 {
		t.Errorf("got %d processes that were left listening, and %v; want none", n, err)
	}
}

func TestADoorbellOfAnotherDatabaseIsLogged(t *testing.T) {
	t.Parallel()
	log := hang(t, open(t), dbtest.New(t))
	wantToldOnce(t, log, "LISTEN does not hear")
}

// hang runs a doorbell until the test ends. It returns the log.
func hang(t *testing.T, d *db.DB, url string) *text {
	t.Helper()
	log := &text{}
	ctx, stop := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() { d.RunDoorbell(ctx, url, slog.New(slog.NewTextHandler(log, nil))) })
	t.Cleanup(func() { stop(); done.Wait() })
	return log
}

func wantToldOnce(t *testing.T, log *text, what string) {
	t.Helper()
	eventually(t, "a line that says "+what, func() bool { return log.String() != "" })
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, what) ||
		!strings.Contains(got, "-doorbell-url") {
		t.Errorf("got %q, want one line that says %q, and what to do", got, what)
	}
}

// A text is a buffer that may be read while it is written.
type text struct {
	mu sync.Mutex
	b  strings.Builder
}

func (x *text) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.Write(p)
}

func (x *text) String() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.String()
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	ssetest.Eventually(t, what, condition)
}

func TestQueryModesWithoutTypesAreRefused(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"exec", "simple_protocol"} {
		_, err := db.Open(t.Context(), dbtest.New(t)+"&default_query_exec_mode="+mode)
		if err == nil || !strings.Contains(err.Error(), "default_query_exec_mode") {
			t.Errorf("%s: got %v, want an error that names the mode", mode, err)
		}
	}
}
