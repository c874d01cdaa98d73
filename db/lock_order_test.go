package db_test

import (
	"testing"

	"fabric-guild/db/dbtest"
	"fabric-guild/events/ssetest"
)

// Rule 1: the lock comes before the number. A writer that waits for the lock has not drawn.
func TestTheLockComesBeforeTheNumber(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	d := openURL(t, url)
	channel, _ := create(t, d, "alice")
	holder, writer, watcher := dbtest.Connect(t, url), dbtest.Connect(t, url), dbtest.Connect(t, url)
	last := func() (n int64) {
		t.Helper()
		if err := watcher.QueryRow(
			t.Context(), `SELECT pg_sequence_last_value('events_seq'::regclass)`,
		).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := last()
	exec(t, holder, `SELECT pg_advisory_lock((log_tag() << 47) | $1)`, before)
	done := make(chan error, 1)
	go func() {
		_, err := writer.Exec(t.Context(),
			`INSERT INTO events (kind, channel_id, user_id) VALUES ('channel.updated', $1, 'alice')`, channel)
		done <- err
	}()
	const waiting = `SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
		AND pid = $1)`
	eventually(t, "the writer waits for its lock", func() (is bool) {
		if err := watcher.QueryRow(t.Context(), waiting, writer.PgConn().PID()).Scan(&is); err != nil {
			t.Fatal(err)
		}
		return is
	})
	if got := last(); got != before {
		t.Errorf("a writer without its lock has drawn %d", got)
	}
	exec(t, holder, `SELECT pg_advisory_unlock((log_tag() << 47) | $1)`, before)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// Rule 5: a post that waits for a table, which CREATE INDEX locks, does not hold the event log meanwhile.
func TestAPostThatWaitsForATableHoldsNothing(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	d, other, reader := openURL(t, url), dbtest.Connect(t, url), dbtest.Connect(t, url)
	channel, _ := create(t, d, "alice")
	post(t, d, channel, "alice", "before")
	exec(t, other, `BEGIN`)
	exec(t, other, `LOCK TABLE messages IN SHARE MODE`)
	posted := make(chan error, 1)
	go func() {
		_, err := d.Post(t.Context(), newMessage(channel, "alice", "hi"))
		posted <- err
	}()
	const waits = `SELECT count(*) FROM pg_locks WHERE relation = 'messages'::regclass AND NOT granted`
	if !ssetest.Await(func() bool { return column[int64](t, reader, waits)[0] == 1 }) {
		t.Fatal("the post does not wait for the table")
	}
	if held := column[*int64](t, reader, `SELECT log_held()`)[0]; held != nil {
		t.Errorf("the event log is held at %d, want that nothing holds it", *held)
	}
	exec(t, other, `ROLLBACK`)
	if err := <-posted; err != nil {
		t.Error(err)
	}
}
