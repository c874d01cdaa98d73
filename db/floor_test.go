package db_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"
	"fabric-guild/events"
)

// An event log whose events were all removed continues at the next number: for readers that have read
// everything, for new readers, and in a new life of the database. This holds even if numbers that were drawn
// and rolled back are given out again after a crash.
func TestAnEmptyLogContinuesAtTheNextNumber(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	d, c := openURL(t, url), dbtest.Connect(t, url)
	channel, _ := create(t, d, "alice", "bob")
	said := posts(t, d, channel, 3)
	last := said[2]
	for range 3 {
		exec(t, c,
			`BEGIN; INSERT INTO events (kind, channel_id, user_id) VALUES ('channel.updated',
				gen_random_uuid(), 'alice'); ROLLBACK`)
	}
	exec(t, c, `UPDATE events SET occurred_at = clock_timestamp() - '40 days'::interval`)
	if _, floor := retain(t, d, db.Retention{Age: 30 * day}); floor != last {
		t.Errorf("got the floor at %d, want %d, an event's", floor, last)
	}
	if n := column[int64](t, c, `SELECT count(*) FROM events`)[0]; n != 0 {
		t.Fatalf("got %d events left, want none", n)
	}
	head, err := d.Head(t.Context())
	if err != nil || head.Seq != last {
		t.Errorf("a new reader starts at %v, %v; want %d", head, err, last)
	}
	if page, err := d.Replay(t.Context(), "bob", last, last); err != nil || page.Reached != last ||
		len(page.Events) != 0 {
		t.Errorf("who has seen all: got %+v, %v; want nothing", page, err)
	}
	if got := tail(t, d, said[0]); got.Floor != last {
		t.Errorf("a server that has not read everything: got floor %d, want %d", got.Floor, last)
	}

	newLife(t, c)
	exec(t, c, `SELECT setval('events_seq', $1)`, last)
	now := post(t, d, channel, "alice", "now").Cursor
	if now.Seq != last+1 {
		t.Fatalf("got number %d, want %d once more", now.Seq, last+1)
	}
	got, err := d.Tail(t.Context(), head, 10)
	if err != nil || got.Base != last || !slices.Equal(seqs(got.Events), []int64{now.Seq}) {
		t.Errorf("got %v after base %d, %v; want %v after %d", seqs(got.Events), got.Base, err, now.Seq, last)
	}
	if reset, err := d.CheckCursor(t.Context(), head, now); reset != "" || err != nil {
		t.Errorf("the last cursor of the life before: got %q, %v; want it honoured", reset, err)
	}
	if page, err := d.Replay(t.Context(), "bob", last, now.Seq); err != nil ||
		!slices.Equal(heard(page), []int64{now.Seq}) {
		t.Errorf("who has seen all: got %v, %v; want %d", heard(page), err, now.Seq)
	}
}

// Rule 16: a reader that misses removed rows sees the new floor. The page's rows wait here until retention
// has committed: a floor that was read before them would be the old one.
func TestAPageReadsTheFloorAfterItsRows(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	d, other := openURL(t, url), dbtest.Connect(t, url)
	channel, created := create(t, d, "alice", "bob")
	said := posts(t, d, channel, 5)
	// now its statements are prepared
	if _, err := d.Replay(t.Context(), "bob", created.Seq, said[4]); err != nil {
		t.Fatal(err)
	}
	for name, table := range map[string]string{"its rows wait": "messages", "its floor waits": "log_floor"} {
		exec(t, other, `BEGIN`)
		exec(t, other, `LOCK TABLE `+table+` IN ACCESS EXCLUSIVE MODE`)
		got := make(chan error, 1)
		go func() {
			_, err := d.Replay(context.WithoutCancel(t.Context()), "bob", created.Seq, said[4])
			got <- err
		}()
		awaitBlocked(t, url)
		exec(t, other, `UPDATE log_floor SET seq = $1`, said[1])
		exec(t, other, `DELETE FROM events WHERE seq <= $1`, said[1])
		exec(t, other, `COMMIT`)
		if err := <-got; !errors.Is(err, events.ErrExpired) {
			t.Errorf("%s: got %v, want %v", name, err, events.ErrExpired)
		}
		exec(t, other, `UPDATE log_floor SET seq = 0`) // for the next case
	}
}

// awaitBlocked waits until a statement in the database waits for a lock, of a row too.
func awaitBlocked(t *testing.T, url string) {
	t.Helper()
	watcher := dbtest.Connect(t, url)
	const waiting = `
		SELECT EXISTS (SELECT FROM pg_stat_activity
			WHERE wait_event_type = 'Lock' AND datname = current_database())`
	eventually(t, "somebody waits", func() bool { return column[bool](t, watcher, waiting)[0] })
}
