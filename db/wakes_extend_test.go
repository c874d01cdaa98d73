package db_test

import (
	"errors"
	"testing"
	"time"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"

	"github.com/google/uuid"
)

// declined posts a message, claims it and declines it. It returns the id of the dead wake.
func (q *queueTest) declined() uuid.UUID {
	q.t.Helper()
	q.post("ann", "old work")
	w := q.wake(db.WakeClaim{})
	if err := q.d.AckWake(q.t.Context(), q.ref(w.ID), db.Ack{Declined: true}); err != nil {
		q.t.Fatal(err)
	}
	return column[uuid.UUID](q.t, dbtest.Connect(q.t, q.url), `SELECT id FROM wakes_dead`)[0]
}

// live returns how many wakes have a live lease.
func (q *queueTest) live() int {
	q.t.Helper()
	return column[int](q.t, dbtest.Connect(q.t, q.url),
		`SELECT count(*) FROM wakes WHERE lease_until > clock_timestamp()`)[0]
}

// Rule 35: a lease that has ended is not extended while another part of its channel is leased. The reply
// still counts.
func TestAnEndedLeaseBesideAnotherPart(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	dead := q.declined()
	q.post("ann", "new work")
	late := q.wake(db.WakeClaim{})
	if err := q.d.RetryWake(t.Context(), q.ref(dead), position(t, q.d)); err != nil {
		t.Fatal(err)
	}
	q.none(db.WakeClaim{})
	q.expire()
	if _, err := q.d.ExtendWake(t.Context(), q.ref(late.ID), time.Second, nil); err != nil {
		t.Errorf("got %v while nobody has the other part, want that the lease is extended", err)
	}
	q.expire()
	other := q.wake(db.WakeClaim{})
	if other.ID == late.ID || len(other.Messages) != 1 || other.Messages[0] == late.Messages[0] {
		t.Fatalf("got %+v, want the retried part", other)
	}

	_, err := q.d.ExtendWake(t.Context(), q.ref(late.ID), longLease, nil)
	if !errors.Is(err, db.ErrWakeLost) {
		t.Errorf("an extension: got %v, want %v", err, db.ErrWakeLost)
	}
	keep := newMessage(q.channel, "bot", "at it")
	keep.Reply = &db.Reply{Wake: late.ID, Keep: true, Lease: longLease}
	for _, last := range []*uuid.UUID{nil, late.Shown.Last} {
		keep.IfLast = last
		if _, err := q.d.Post(t.Context(), keep); !errors.Is(err, db.ErrWakeLost) {
			t.Errorf("a post that keeps the wake, after %v: got %v, want %v", last, err, db.ErrWakeLost)
		}
	}
	if n := q.live(); n != 1 {
		t.Errorf("got %d live leases in one channel, want 1", n)
	}
	if _, err := q.reply(late.ID, "done"); err != nil {
		t.Errorf("the late reply: got %v, want that it counts", err)
	}
}

// Rule 29: a claim that has waited for a row checks the row's lease again.
func TestAClaimWaitsForAnExtension(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.post("ann", "work")
	q.wake(db.WakeClaim{})
	q.expire()
	holder := dbtest.Connect(t, q.url)
	exec(t, holder, `BEGIN`)
	exec(t, holder, `UPDATE wakes SET lease_until = clock_timestamp() + interval '1 hour'`)
	claimed := q.claiming(db.WakeClaim{})
	awaitBlocked(t, q.url)
	exec(t, holder, `COMMIT`)
	if a := <-claimed; a.Wake != nil {
		t.Errorf("got the wake %+v, whose lease is live, want none", a.Wake)
	}
}

// A post that keeps its wake never shortens the lease.
func TestAPostKeepsALongLease(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.post("ann", "work")
	w := q.wake(db.WakeClaim{})
	keep := newMessage(q.channel, "bot", "at it")
	keep.Reply = &db.Reply{Wake: w.ID, Keep: true, Lease: time.Second}
	p, err := q.d.Post(t.Context(), keep)
	if err != nil {
		t.Fatal(err)
	}
	if !p.Wake.LeaseUntil.Equal(w.LeaseUntil.Time) || p.Wake.Lease < longLease/2 {
		t.Errorf("got a lease until %v (%v), want the one until %v", p.Wake.LeaseUntil, p.Wake.Lease,
			w.LeaseUntil)
	}
}
