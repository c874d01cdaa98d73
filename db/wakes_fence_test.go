package db_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// A grouped is a post in a group of posts by bot.
type grouped struct {
	channel uuid.UUID
	replyTo *uuid.UUID
	wake    *uuid.UUID
	keep    bool
	want    string // stored, held or refused
}

// storeGroup stores a group with one call of post_messages, and returns what became of each post, and the
// wakes.
func storeGroup(t *testing.T, c *pgx.Conn, group []grouped) (results []string, wakes []*db.Replied) {
	t.Helper()
	const query = `
		SELECT n, seq IS NOT NULL, wake FROM post_messages($1, 1, false, NULL, false,
			$2, $3, array_fill('bot'::text, $4), array_fill('re'::text, $4), $5,
			array_fill(NULL::text, $4), array_fill(NULL::text, $4), array_fill(NULL::text, $4),
			array_fill(false, $4), NULL, $6, $7, array_fill(60::float8, $4))`
	var ids, channels []uuid.UUID
	var replies, wakeIDs []*uuid.UUID
	var keeps []bool
	for _, p := range group {
		ids = append(ids, uuid.Must(uuid.NewV7()))
		channels = append(channels, p.channel)
		replies = append(replies, p.replyTo)
		wakeIDs = append(wakeIDs, p.wake)
		keeps = append(keeps, p.keep)
	}
	results = make([]string, len(group))
	wakes = make([]*db.Replied, len(group))
	for i := range results {
		results[i] = "refused"
	}
	rows, err := c.Query(t.Context(), query, int32(0x46470002), ids, channels, []int{len(group)}, replies,
		wakeIDs, keeps)
	if err != nil {
		t.Fatal(err)
	}
	var n int
	var stored bool
	var wake []byte
	_, err = pgx.ForEachRow(rows, []any{&n, &stored, &wake}, func() error {
		results[n-1] = "held"
		if stored {
			results[n-1] = "stored"
		}
		if wake == nil {
			return nil
		}
		return json.Unmarshal(wake, &wakes[n-1])
	})
	if err != nil {
		t.Fatal(err)
	}
	return results, wakes
}

// A group of posts stores a reply only if its wake is still the author's, and ends a wake only if the reply
// was stored. It waits for no wake, and one reply does not fail another.
func TestTheFenceInAGroup(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	claimed := func() (uuid.UUID, *db.Wake) {
		t.Helper()
		channel, _ := create(t, q.d, "ann", "bot")
		post(t, q.d, channel, "ann", "work")
		return channel, q.wake(db.WakeClaim{Channels: []uuid.UUID{channel}})
	}
	answered, a := claimed()
	kept, b := claimed()
	locked, c := claimed()
	refused, r := claimed()
	ended, e := claimed()
	more, m := claimed()
	next := post(t, q.d, more, "ann", "more work")
	q.none(db.WakeClaim{})
	lost, l := claimed()
	q.expire()
	q.wake(db.WakeClaim{Channels: []uuid.UUID{lost}})
	if _, err := q.d.ExtendWake(t.Context(), q.ref(b.ID), longLease, nil); err != nil {
		t.Fatal(err)
	}

	holder := dbtest.Connect(t, q.url)
	exec(t, holder, `BEGIN`)
	exec(t, holder, `SELECT FROM wakes WHERE id = $1 FOR UPDATE`, c.ID)
	group := []grouped{
		{channel: answered, want: "stored"},
		{channel: answered, wake: &a.ID, want: "stored"},
		{channel: kept, wake: &b.ID, keep: true, want: "stored"},
		{channel: locked, wake: &c.ID, want: "held"},
		{channel: refused, wake: &r.ID, replyTo: &a.ID, want: "refused"},
		{channel: more, wake: &m.ID, want: "stored"},
		{channel: lost, wake: &l.ID, want: "held"},
		{channel: answered, wake: new(uuid.New()), want: "held"},
		{channel: kept, wake: &r.ID, want: "held"},
		{channel: ended, wake: &e.ID, keep: true, want: "held"},
	}
	var want []string
	for _, p := range group {
		want = append(want, p.want)
	}
	conn := dbtest.Connect(t, q.url)
	got, wakes := storeGroup(t, conn, group)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if wakes[0] != nil || wakes[1] == nil || wakes[1].More || wakes[5] == nil || !wakes[5].More {
		t.Errorf("got the wakes %+v, want none for the first, and one with more for the sixth", wakes)
	}

	// What is left of each wake.
	leased := column[uuid.UUID](t, conn,
		`SELECT channel_id FROM wakes WHERE id IS NOT NULL ORDER BY channel_id`)
	if diff := cmp.Diff([]uuid.UUID{kept, locked, refused, ended, lost}, leased); diff != "" { // ids grow
		t.Errorf("the channels with a wake that is still claimed (-want +got):\n%s", diff)
	}
	var first int64
	var at time.Time
	if err := conn.QueryRow(
		t.Context(), `SELECT first_seq, first_at FROM wakes WHERE channel_id = $1 AND id IS NULL`, more,
	).Scan(&first, &at); err != nil {
		t.Fatal(err)
	}
	if first != m.Messages[0]+1 || !at.Equal(next.CreatedAt.Time) {
		t.Errorf("got the rest from %d at %v, want it from %d at %v", first, at, m.Messages[0]+1,
			next.CreatedAt)
	}
	if n := column[int](t, conn, `SELECT count(*) FROM messages WHERE wake_id = ANY ($1)`,
		[]uuid.UUID{a.ID, m.ID})[0]; n != 2 {
		t.Errorf("got %d messages that answer, want 2", n)
	}
	if n := column[int](t, conn, `SELECT count(*) FROM messages WHERE wake_id IS NOT NULL`)[0]; n != 2 {
		t.Errorf("got %d messages with a wake, want 2", n)
	}
	exec(t, holder, `ROLLBACK`)
}

// A reply whose wake is locked waits for the lock, and then decides.
func TestAReplyWaitsForItsWake(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	for _, tt := range []struct {
		end  string
		want error
	}{{`ROLLBACK`, nil}, {`COMMIT`, db.ErrWakeLost}} {
		q.post("ann", "work")
		w := q.wake(db.WakeClaim{})
		holder := dbtest.Connect(t, q.url)
		exec(t, holder, `BEGIN`)
		exec(t, holder, `UPDATE wakes SET id = gen_random_uuid() WHERE id = $1`, w.ID)
		result := make(chan error)
		go func() {
			_, err := q.reply(w.ID, "re")
			result <- err
		}()
		awaitBlocked(t, q.url)
		exec(t, holder, tt.end)
		if err := <-result; !errors.Is(err, tt.want) {
			t.Errorf("after %s: got %v, want %v", tt.end, err, tt.want)
		}
	}
	if n := column[int](t, dbtest.Connect(t, q.url),
		`SELECT count(*) FROM messages WHERE content = 're'`)[0]; n != 1 {
		t.Errorf("got %d replies, want 1", n)
	}
}

// Sixteen replies with one wake id at the same time: one is stored, whatever groups they form.
func TestOneReplyForAWake(t *testing.T) {
	dbtest.Long(t) // TestAReplyWaitsForItsWake is fast
	t.Parallel()
	q := newQueue(t)
	for range 5 {
		q.post("ann", "work")
		w := q.wake(db.WakeClaim{})
		results := make(chan error)
		for range 16 {
			go func() {
				_, err := q.reply(w.ID, "re")
				results <- err
			}()
		}
		stored := 0
		for range 16 {
			switch err := <-results; {
			case err == nil:
				stored++
			case !errors.Is(err, db.ErrWakeLost):
				t.Errorf("got %v, want %v", err, db.ErrWakeLost)
			}
		}
		if stored != 1 {
			t.Errorf("got %d replies stored, want 1", stored)
		}
	}
}

// A post that keeps its wake extends the lease, up to an hour after the claim. A final reply counts later
// too.
func TestAKeptWake(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.post("ann", "work")
	w := q.wake(db.WakeClaim{Lease: 5 * time.Second})
	keep := newMessage(q.channel, "bot", "at it")
	keep.Reply = &db.Reply{Wake: w.ID, Keep: true, Lease: longLease}
	posts := map[string]func() (db.Post, error){
		"in a group": func() (db.Post, error) { return q.d.Post(t.Context(), keep) },
		"in a transaction": func() (p db.Post, err error) {
			err = q.d.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
				if err := tx.ShareChannel(ctx, q.channel); err != nil {
					return err
				}
				p, err = tx.Post(ctx, keep)
				return err
			})
			return p, err
		},
	}
	for name, store := range posts {
		q.expire() // nobody has claimed it since
		q.post("ann", "more")
		keep.ID = uuid.Must(uuid.NewV7())
		p, err := store()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		kept, err := q.d.Kept(t.Context(), keep, p.Wake)
		if err != nil {
			t.Fatal(err)
		}
		if kept.Lease < longLease/2 || kept.Lease > longLease || kept.Newer == 0 || kept.Stop ||
			len(kept.Gone) > 0 {
			t.Errorf("%s: got %+v, want the longest lease and newer messages", name, kept)
		}
		q.none(db.WakeClaim{}) // the lease is live
	}
	q.exec(`UPDATE wakes SET claimed_at = claimed_at - interval '1 hour'`)
	for name, store := range posts {
		keep.ID = uuid.Must(uuid.NewV7())
		if _, err := store(); !errors.Is(err, db.ErrLeaseLimit) {
			t.Errorf("%s after an hour: got %v, want %v", name, err, db.ErrLeaseLimit)
		}
	}
	if n := column[int](t, dbtest.Connect(t, q.url),
		`SELECT count(*) FROM messages WHERE content = 'at it'`)[0]; n != 2 {
		t.Errorf("got %d posts stored, want 2", n)
	}
	if _, err := q.reply(w.ID, "done"); err != nil {
		t.Error(err)
	}
}
