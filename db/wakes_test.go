package db_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"
	"fabric-guild/events"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

// A queueTest is a database with one channel of a human and an agent.
type queueTest struct {
	t       *testing.T
	d       *db.DB
	url     string
	channel uuid.UUID
}

func newQueue(t *testing.T) *queueTest {
	t.Helper()
	q := &queueTest{t: t, url: dbtest.New(t)}
	q.d = openURL(t, q.url)
	q.channel, _ = create(t, q.d, "ann", "bot")
	q.claim(db.WakeClaim{}) // begins the queue
	return q
}

// position returns the position of a tailer that has read everything.
func position(t *testing.T, d *db.DB) events.Cursor {
	t.Helper()
	at, err := d.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// claim claims with defaults for what a test leaves empty.
func (q *queueTest) claim(c db.WakeClaim) db.Claimed {
	q.t.Helper()
	a, err := q.tryClaim(q.d, c)
	if err != nil {
		q.t.Fatal(err)
	}
	return a
}

// longLease is the longest lease of a claim. On a busy machine a test may take minutes, and the work may not
// go back to the queue meanwhile.
const longLease = 10 * time.Minute

func (q *queueTest) tryClaim(d *db.DB, c db.WakeClaim) (db.Claimed, error) {
	if c.User == "" {
		c.User = "bot"
	}
	if c.Lease == 0 {
		c.Lease = longLease
	}
	if c.Limit == 0 {
		c.Limit = 100
	}
	if c.At == (events.Cursor{}) {
		c.At = position(q.t, d)
	}
	if c.Since == 0 {
		c.Since = c.At.Seq
	}
	c.Create = true
	return d.Claim(q.t.Context(), c)
}

// claiming claims in the background.
func (q *queueTest) claiming(c db.WakeClaim) <-chan db.Claimed {
	claimed := make(chan db.Claimed, 1)
	go func() {
		a, err := q.tryClaim(q.d, c)
		if err != nil {
			q.t.Error(err)
		}
		claimed <- a
	}()
	return claimed
}

func (q *queueTest) ref(id uuid.UUID) db.WakeRef { return db.WakeRef{User: "bot", ID: id} }

func (q *queueTest) wake(c db.WakeClaim) *db.Wake {
	q.t.Helper()
	a := q.claim(c)
	if a.Wake == nil {
		q.t.Fatalf("got %+v, want a wake", a)
	}
	return a.Wake
}

func (q *queueTest) none(c db.WakeClaim) db.Claimed {
	q.t.Helper()
	a := q.claim(c)
	if a.Wake != nil {
		q.t.Fatalf("got the wake %+v, want none", a.Wake)
	}
	return a
}

func (q *queueTest) post(author, text string, mentioned ...string) int64 {
	q.t.Helper()
	return post(q.t, q.d, q.channel, author, text, mentioned...).Seq
}

func (q *queueTest) exec(query string, args ...any) {
	q.t.Helper()
	exec(q.t, dbtest.Connect(q.t, q.url), query, args...)
}

// expire ends all leases, as time would.
func (q *queueTest) expire() {
	q.t.Helper()
	q.exec(
		`UPDATE wakes SET lease_until = clock_timestamp() - interval '1 second'
			WHERE lease_until IS NOT NULL`,
	)
}

// reply stores a reply as a request does.
func (q *queueTest) reply(id uuid.UUID, text string) (int64, error) {
	m := newMessage(q.channel, "bot", text)
	m.Reply = &db.Reply{Wake: id}
	stored, err := q.d.Post(q.t.Context(), m)
	return stored.Seq, err
}

func TestAClaimAndItsReply(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.none(db.WakeClaim{})
	one, two := q.post("ann", "one"), q.post("ann", "two", "bot")
	w := q.wake(db.WakeClaim{})
	if diff := cmp.Diff([]int64{one, two}, w.Messages); diff != "" || w.Reason != events.Mention ||
		w.Attempt != 1 || w.More {
		t.Errorf("got %+v, want both messages for a mention, attempt 1:\n%s", w, diff)
	}
	q.none(db.WakeClaim{}) // the channel is leased
	three := q.post("ann", "three")
	q.none(db.WakeClaim{})
	if _, err := q.reply(w.ID, "done"); err != nil {
		t.Fatal(err)
	}
	if _, err := q.reply(w.ID, "again"); !errors.Is(err, db.ErrWakeLost) {
		t.Errorf("got %v for a second reply, want %v", err, db.ErrWakeLost)
	}
	if w = q.wake(db.WakeClaim{}); !slices.Equal(w.Messages, []int64{three}) || w.Attempt != 1 {
		t.Errorf("got %+v, want the third message", w)
	}
}

// A worker whose lease ended can still answer, as long as nobody has claimed the wake since.
func TestALateReply(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.post("ann", "one")
	late := q.wake(db.WakeClaim{})
	q.expire()
	if _, err := q.reply(late.ID, "late"); err != nil {
		t.Errorf("got %v for a late reply, want it stored", err)
	}
	q.none(db.WakeClaim{})

	q.post("ann", "two")
	lost := q.wake(db.WakeClaim{})
	q.expire()
	again := q.wake(db.WakeClaim{})
	if again.Attempt != 2 || again.ID == lost.ID {
		t.Errorf("got %+v, want a second attempt with a new id", again)
	}
	if _, err := q.reply(lost.ID, "too late"); !errors.Is(err, db.ErrWakeLost) {
		t.Errorf("got %v for the reply of a replaced worker, want %v", err, db.ErrWakeLost)
	}
	if _, err := q.d.ExtendWake(t.Context(), q.ref(lost.ID), longLease, nil); !errors.Is(err,
		db.ErrWakeLost) {
		t.Errorf("got %v for its extension, want %v", err, db.ErrWakeLost)
	}
	if err := q.d.AckWake(t.Context(), q.ref(lost.ID), db.Ack{}); !errors.Is(err, db.ErrWakeLost) {
		t.Errorf("got %v for its ack, want %v", err, db.ErrWakeLost)
	}
	if _, err := q.reply(again.ID, "in time"); err != nil {
		t.Error(err)
	}
}

// A channel has one lease at a time, with sixteen concurrent claims on two servers, one of which lags behind.
func TestOneLeaseAtATime(t *testing.T) {
	dbtest.Long(t) // TestAClaimAndItsReply is fast
	t.Parallel()
	q := newQueue(t)
	other := openURL(t, q.url)
	for round := range 5 {
		lagging := position(t, q.d)
		for i := range 100 {
			q.post("ann", fmt.Sprint(i))
		}
		var mu sync.Mutex
		var got []*db.Wake
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				d, c := q.d, db.WakeClaim{Rung: i%4 < 2}
				if i%2 == 1 {
					d, c.At = other, lagging
				}
				a, err := q.tryClaim(d, c)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				if a.Wake != nil {
					got = append(got, a.Wake)
				}
			})
		}
		wg.Wait()
		if len(got) != 1 || len(got[0].Messages) != 100 {
			t.Fatalf("round %d: got %d wakes, want one with all messages", round, len(got))
		}
		if _, err := q.reply(got[0].ID, "ok"); err != nil {
			t.Fatal(err)
		}
	}
}

// A message that is not owed any more is not handed out: after a leave, after a delete, in an archived
// channel.
func TestWhatIsNotOwed(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.post("ann", "before the leave")
	q.none(db.WakeClaim{Guilds: []string{"g2"}})
	//nolint:errcheck // the next claim tells
	q.d.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		_, err := tx.RemoveMember(ctx, q.channel, "bot")
		return err
	})
	q.none(db.WakeClaim{})
	//nolint:errcheck // the next claim tells
	q.d.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		_, err := tx.AddMember(ctx, q.channel, "bot")
		return err
	})
	q.none(db.WakeClaim{})
	q.post("ann", "before a leave that no claim notices")
	if _, err := q.d.ScanWakes(t.Context(), "bot", position(t, q.d)); err != nil {
		t.Fatal(err)
	}
	q.change(func(ctx context.Context, tx db.Tx) error {
		if _, err := tx.RemoveMember(ctx, q.channel, "bot"); err != nil {
			return err
		}
		_, err := tx.AddMember(ctx, q.channel, "bot")
		return err
	})
	after := q.post("ann", "after the return")
	if w := q.wake(db.WakeClaim{}); !slices.Equal(w.Messages, []int64{after}) {
		t.Errorf("got %v, want only what came after the return", w.Messages)
	}
}

// One message at place 50 of 100 makes every attempt fail. The others are answered, in at most thirty runs.
// The failing one is listed as dead, is kept, and comes back with a retry.
func TestOneFailingMessage(t *testing.T) {
	dbtest.Long(t) // TestARetryIsNotMerged is fast
	t.Parallel()
	q := newQueue(t)
	var bad int64
	answered := map[int64]bool{}
	for i := range 100 {
		seq := q.post("ann", fmt.Sprint(i))
		if i == 50 {
			bad = seq
		}
	}
	// Their author has a queue too: messages of agents neither end pauses nor take attempts back.
	q.exec(`INSERT INTO wake_consumers (user_id, since_seq, scanned_seq) VALUES ('ann', 0, 0)`)
	runs := 0
	for {
		q.exec(`UPDATE wakes SET not_before = NULL`) // as time would
		a := q.claim(db.WakeClaim{})
		for _, part := range a.Dead {
			if _, err := q.d.BuryWake(t.Context(), part); err != nil {
				t.Fatal(err)
			}
		}
		if a.Wake == nil {
			if len(a.Dead) == 0 {
				break
			}
			continue
		}
		runs++
		if slices.Contains(a.Wake.Messages, bad) {
			if _, err := q.d.NackWake(t.Context(), q.ref(a.Wake.ID), db.Nack{Error: "no idea"},
				1); err != nil {
				t.Fatal(err)
			}
			continue
		}
		for _, seq := range a.Wake.Messages {
			answered[seq] = true
		}
		if _, err := q.reply(a.Wake.ID, "ok"); err != nil {
			t.Fatal(err)
		}
	}
	if len(answered) != 99 || runs > 30 {
		t.Errorf("got %d answered in %d runs, want 99 in 30 at most", len(answered), runs)
	}
	list, err := q.d.ListWakes(t.Context(), "bot", nil, uuid.UUID{}, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Dead) != 1 || list.Dead[0].FirstSeq != bad || list.Dead[0].LastSeq != bad ||
		value(list.Dead[0].Error) != "no idea" {
		t.Fatalf("got the dead wakes %+v, want the one message", list.Dead)
	}
	if err := q.d.RetryWake(t.Context(), q.ref(*list.Dead[0].ID), position(t, q.d)); err != nil {
		t.Fatal(err)
	}
	if w := q.wake(db.WakeClaim{}); !slices.Equal(w.Messages, []int64{bad}) {
		t.Errorf("got %v after the retry, want the one message", w.Messages)
	}
}

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// stop asks bot's worker to stop.
func (q *queueTest) stop() error {
	return q.d.InTx(q.t.Context(), func(ctx context.Context, tx db.Tx) error {
		return tx.StopWake(ctx, q.channel, "bot", "ann")
	})
}
