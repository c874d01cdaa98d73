package db_test

import (
	"testing"

	"fabric-guild/db/dbtest"
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
