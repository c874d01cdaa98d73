package db_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"
	"fabric-guild/events"
)

// Environment variables for other programs do not reach the server's connections. The test is not parallel,
// because the environment is shared.
func TestTheEnvironmentDoesNotReachConnections(t *testing.T) {
	url := dbtest.New(t)
	t.Setenv("PGTARGETSESSIONATTRS", "read-only")
	t.Setenv("PGOPTIONS", "-c default_transaction_isolation=serializable -c search_path=nowhere")
	works(t, url)
	_, err := db.Open(t.Context(), url+"&target_session_attrs=standby")
	if err == nil || !strings.Contains(err.Error(), "target_session_attrs must be") {
		t.Errorf("a URL of a standby: got %v, want a refusal", err)
	}
}

// The defaults of a role or a database do not reach the server's connections.
func TestDefaultsOfTheDatabaseDoNotReachConnections(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	c := dbtest.Connect(t, url)
	name := column[string](t, c, `SELECT current_database()::text`)[0]
	exec(t, c, `ALTER DATABASE `+name+` SET default_transaction_isolation = 'serializable'`)
	d := works(t, url)
	exec(t, c, `CREATE SCHEMA other`)
	exec(t, c, `ALTER DATABASE `+name+` SET search_path = other`)
	channel, _ := create(t, d, "alice") // still works, over new connections too
	for range 100 {
		post(t, d, channel, "alice", "hi")
	}
	for what, open := range map[string]func(url string) error{
		"migrate": func(url string) error { return db.Migrate(t.Context(), url) },
		"open": func(url string) error {
			d, err := db.Open(t.Context(), url)
			if err == nil {
				d.Close()
			}
			return err
		},
	} {
		if err := open(url); err == nil || !strings.Contains(err.Error(), "search_path=public") {
			t.Errorf("%s: got %v, want a refusal that says what to do", what, err)
		}
		if err := open(url + "&search_path=public"); err != nil {
			t.Errorf("%s, with a search_path: got %v, want none", what, err)
		}
	}
}

// works opens the database, posts, and reads the post.
func works(t *testing.T, url string) *db.DB {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	d, err := db.Open(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	head, err := d.Head(ctx)
	if err != nil {
		t.Fatal(err)
	}
	channel, _ := create(t, d, "alice")
	at := post(t, d, channel, "alice", "hi").Cursor
	if got, err := d.Tail(ctx, events.Cursor{Epoch: head.Epoch, Seq: at.Seq - 1}, 10); err != nil ||
		len(got.Events) != 1 {
		t.Fatalf("got %v, %v; want one event", got.Events, err)
	}
	return d
}

// Every transaction that appends ends by itself, and no generic plan has parallel workers. A trigger records
// the settings.
func TestSettingsOfTransactionsThatAppend(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	c := dbtest.Connect(t, url)
	name := column[string](t, c, `SELECT current_database()::text`)[0]
	exec(t, c, `ALTER DATABASE `+name+` SET max_parallel_workers_per_gather = 4`)
	d := openURL(t, url)
	channel, _ := create(t, d, "alice")
	exec(t, c, `CREATE TABLE seen (what text, value text)`)
	exec(t, c, `CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			INSERT INTO seen SELECT name, current_setting(name) FROM unnest(ARRAY[
				'statement_timeout', 'lock_timeout', 'synchronous_commit', 'jit', 'plan_cache_mode',
				'max_parallel_workers_per_gather']) AS s (name);
			RETURN NEW;
		END $$`)
	exec(t, c, `CREATE TRIGGER see BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION see()`)
	want := []string{
		"jit off", "lock_timeout 5s", "max_parallel_workers_per_gather 0",
		"plan_cache_mode force_generic_plan",
		"statement_timeout 10s", "synchronous_commit on",
	}
	for what, do := range map[string]func() error{
		"a post": func() error {
			_, err := d.Post(t.Context(), newMessage(channel, "alice", "hi"))
			return err
		},
		"a change": func() error {
			return d.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
				if err := tx.LockChannel(ctx, channel); err != nil {
					return err
				}
				_, err := tx.UpdateChannel(ctx, channel, "alice", db.ChannelUpdate{Name: new("new")})
				return err
			})
		},
	} {
		exec(t, c, `TRUNCATE seen`)
		if err := do(); err != nil {
			t.Fatal(err)
		}
		got := column[string](t, c, `SELECT what || ' ' || value FROM seen ORDER BY 1`)
		if strings.Join(got, ", ") != strings.Join(want, ", ") {
			t.Errorf("%s: got %q, want %q", what, got, want)
		}
	}
}
