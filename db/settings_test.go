package db_test

import (
	"context"
	"strings"
	"testing"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"
	"fabric-guild/db/pgrun"
	"fabric-guild/events"
	"fabric-guild/events/ssetest"

	"github.com/google/go-cmp/cmp"
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

// A role may have a default encoding. Texts still arrive as they were written.
func TestTheEncodingOfARoleDoesNotReachConnections(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	c := dbtest.Connect(t, url)
	name := column[string](t, c, `SELECT current_database()::text`)[0]
	exec(t, c, `ALTER DATABASE `+name+` SET client_encoding = 'LATIN1'`)
	if err := db.Migrate(t.Context(), url); err != nil {
		t.Error(err)
	}
	works(t, url)
}

// A database with another encoding is refused, and the error says how to make the right one.
func TestADatabaseWithAnotherEncodingIsRefused(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	admin := dbtest.Connect(t, strings.Replace(url, pgrun.Owner, pgrun.Superuser, 1))
	exec(t, admin, `UPDATE pg_database SET encoding = 0 WHERE datname = current_database()`) // SQL_ASCII
	err := db.Migrate(t.Context(), url)
	if err == nil || !strings.Contains(err.Error(), "has the encoding SQL_ASCII") ||
		!strings.Contains(err.Error(), "ENCODING 'UTF8'") {
		t.Errorf("got %v, want a refusal that says what to do", err)
	}
}

// works opens the database, posts, and reads the post.
func works(t *testing.T, url string) *db.DB {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), ssetest.Patience)
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

// The defaults of a Postgres may favour speed or long queries. A post is still on disk when it is
// acknowledged, and Postgres neither plans it each time nor compiles it. A post that hangs ends by itself.
// All of this holds behind a pooler too. A trigger records the settings in force.
func TestSettingsDoNotDependOnDefaults(t *testing.T) {
	dbtest.Long(t) // TestDefaultsOfTheDatabaseDoNotReachConnections is fast
	t.Parallel()
	t.Run("a direct connection", func(t *testing.T) {
		t.Parallel()
		url := dbtest.New(t)
		testSettings(t, url, url)
	})
	t.Run("behind a pooler", func(t *testing.T) {
		t.Parallel()
		pooled, direct := dbtest.NewPooled(t)
		testSettings(t, pooled, direct)
	})
}

func testSettings(t *testing.T, url, direct string) {
	want := map[string]string{
		"synchronous_commit": "on", "jit": "off", "plan_cache_mode": "force_generic_plan",
		"lock_timeout": "5s", "statement_timeout": "10s", "idle_in_transaction_session_timeout": "5s",
		"enable_seqscan": "off", "enable_bitmapscan": "off", "max_parallel_workers_per_gather": "0",
	}
	c := dbtest.Connect(t, direct)
	exec(t, c, `DO $$ BEGIN
		EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database());
		EXECUTE format('ALTER DATABASE %I SET jit = on', current_database());
		EXECUTE format('ALTER DATABASE %I SET max_parallel_workers_per_gather = 4', current_database());
	END $$`)
	exec(t, c, `CREATE TABLE in_force (name text, setting text)`)
	exec(t, c, `CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO in_force SELECT name, current_setting(name) FROM pg_settings;
		RETURN NEW;
	END $$`)
	exec(t, c, `CREATE TRIGGER note BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION note()`)
	exec(t, c, `CREATE TRIGGER note BEFORE INSERT ON read_markers FOR EACH ROW EXECUTE FUNCTION note()`)
	d := openURL(t, url)
	channel, created := create(t, d, "alice")
	for what, do := range map[string]func() error{
		"a post": func() error {
			_, err := d.Post(t.Context(), newMessage(channel, "alice", "in a group"))
			return err
		},
		"a post in a transaction": func() error {
			return d.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
				if err := tx.ShareChannel(ctx, channel); err != nil {
					return err
				}
				_, err := tx.Post(ctx, newMessage(channel, "alice", "in a transaction"))
				return err
			})
		},
		"a statement outside of a transaction": func() error {
			_, err := d.MarkRead(t.Context(), "alice", channel, created.Seq, created.Seq)
			return err
		},
	} {
		exec(t, c, `TRUNCATE in_force`)
		if err := do(); err != nil {
			t.Fatal(err)
		}
		for name, setting := range want {
			got := column[string](t, c, `SELECT setting FROM in_force WHERE name = $1`, name)
			if diff := cmp.Diff([]string{setting}, got); diff != "" {
				t.Errorf("%s: %s (-want +got):\n%s", what, name, diff)
			}
		}
	}
}
