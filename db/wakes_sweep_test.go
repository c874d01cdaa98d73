package db_test

import (
	"slices"
	"testing"
	"time"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"
)

// A sweep looks for the work of users who claimed in the last week, but not in the last minute. It is no
// claim of theirs, and does not wait for a queue that is locked. It buries dead wakes, and forgets workers
// after a week and errors after 90 days. Only one server sweeps at a time.
func TestASweep(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	users := []string{"lately", "today", "last week", "held"}
	channel, _ := create(t, q.d, append([]string{"ann"}, users...)...)
	for i, user := range users {
		q.claim(db.WakeClaim{User: user})
		ago := []string{"1 second", "6 days", "8 days", "1 hour"}[i]
		q.exec(`UPDATE wake_consumers SET claimed_at = clock_timestamp() - $2::interval WHERE user_id = $1`,
			user, ago)
	}
	post(t, q.d, channel, "ann", "work")
	q.post("ann", "fails")
	w := q.wake(db.WakeClaim{Worker: "w", Instance: "old"})
	q.exec(`UPDATE wakes SET attempts = 5, error = 'no idea' WHERE user_id = 'bot'`)
	q.exec(`UPDATE wakes SET lease_until = clock_timestamp()`)
	q.exec(`INSERT INTO wake_workers (user_id, worker, instance, seen_at)
		VALUES ('bot', 'w', 'gone', now() - interval '8 days'),
			('bot', 'w', 'away', now() - interval '6 days')`)
	q.exec(`
		INSERT INTO wakes_dead (id, user_id, channel_id, first_seq, last_seq, attempts, outcome, error, at)
		VALUES (gen_random_uuid(), 'bot', $1, 1, 1, 5, 'dead', 'old', now() - interval '91 days'),
			(gen_random_uuid(), 'bot', $1, 2, 2, 5, 'dead', 'newer', now() - interval '89 days')`, q.channel)
	conn, holder := dbtest.Connect(t, q.url), dbtest.Connect(t, q.url)
	times := func() []time.Time {
		return column[time.Time](t, conn, `SELECT claimed_at FROM wake_consumers ORDER BY user_id`)
	}
	before := times()
	sweep := func() {
		t.Helper()
		if err := q.d.SweepWakes(t.Context(), position(t, q.d)); err != nil {
			t.Fatal(err)
		}
	}

	exec(t, holder, `BEGIN`)
	exec(t, holder, `SELECT pg_advisory_xact_lock($1, 0)`, int32(0x46470006)) // another server sweeps
	sweep()
	if got := column[string](t, conn, `SELECT user_id FROM wakes`); !slices.Equal(got, []string{"bot"}) {
		t.Errorf("beside another sweep: got wakes of %v, want what was there", got)
	}
	exec(t, holder, `COMMIT`)

	exec(t, holder, `BEGIN; SELECT FROM wake_consumers WHERE user_id = 'held' FOR UPDATE`)
	sweep()
	if got := column[string](t, conn, `SELECT user_id FROM wakes`); !slices.Equal(got, []string{"today"}) {
		t.Errorf("got wakes of %v, want today's alone", got)
	}
	if after := times(); !slices.EqualFunc(before, after, time.Time.Equal) {
		t.Errorf("got the times of claims %v, want %v as before", after, before)
	}
	buried := column[int64](t, conn, `SELECT first_seq FROM wakes_dead WHERE error = 'no idea'`)
	if !slices.Equal(buried, w.Messages) {
		t.Errorf("got dead wakes from %v, want one from %v", buried, w.Messages)
	}
	if got := column[string](t, conn, `SELECT error FROM wakes_dead WHERE first_seq < 3
		AND error IS NOT NULL`); !slices.Equal(got, []string{"newer"}) {
		t.Errorf("got the errors %v, want the newer one", got)
	}
	if got := column[string](t, conn, `SELECT instance FROM wake_workers ORDER BY seen_at`); !slices.Equal(
		got, []string{"away", "old"}) {
		t.Errorf("got the instances %v, want those of the last week", got)
	}
	exec(t, holder, `COMMIT`)
}

// A failed attempt pauses its wake for 10 s, 30 s, 2 min and 10 min, spread as the server says. The fifth is
// the last one. The end of a lease is no pause.
func TestPauses(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.post("ann", "one")
	conn := dbtest.Connect(t, q.url)
	now := func() time.Time { return column[time.Time](t, conn, `SELECT clock_timestamp()`)[0] }
	for i, pause := range []time.Duration{10, 30, 120, 600, 0} {
		w := q.wake(db.WakeClaim{})
		before := now()
		a, err := q.d.NackWake(t.Context(), q.ref(w.ID), db.Nack{}, 1.2)
		after := now()
		if err != nil || a.Bury != (i == 4) {
			t.Fatalf("nack %d: got %+v and error %v, want the fifth to be the last", i+1, a, err)
		}
		until := column[time.Time](t, conn, `SELECT not_before FROM wakes`)[0]
		want := pause * time.Second * 12 / 10
		if i < 4 && (until.Before(before.Add(want)) || until.After(after.Add(want))) {
			t.Errorf("nack %d: got a pause of %v to %v, want %v", i+1, until.Sub(after), until.Sub(before),
				want)
		}
		if i < 4 {
			q.none(db.WakeClaim{})
		}
		q.exec(`UPDATE wakes SET not_before = NULL`)
	}
	q.exec(`UPDATE wakes SET attempts = 0`)
	q.wake(db.WakeClaim{})
	q.expire()
	if w := q.wake(db.WakeClaim{}); w.Attempt != 2 {
		t.Errorf("got attempt %d after the end of a lease, want the second at once", w.Attempt)
	}
}

// A wake hands out a mebibyte of text at most, but one message at least.
func TestAWakeOfLongMessages(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	const part = 1 << 18
	q.exec(`INSERT INTO users (id, kind) VALUES ('ann', 'agent')`)
	var seqs []int64
	for _, parts := range []int{5, 2, 2, 1, 1, 1, 1, 1} {
		text := make([]byte, parts*part)
		for i := range text {
			text[i] = 'x'
		}
		seqs = append(seqs, q.post("ann", string(text), "bot"))
	}
	for _, n := range []int{1, 2, 4, 1} {
		w := q.wake(db.WakeClaim{Around: 1})
		if !slices.Equal(w.Messages, seqs[:n]) || len(w.Shown.Messages) != n || w.More != (n < len(seqs)) {
			t.Errorf("got the messages %v (more: %v), want the first %d of %v", w.Messages, w.More, n, seqs)
		}
		if err := q.d.AckWake(t.Context(), q.ref(w.ID), db.Ack{}); err != nil {
			t.Fatal(err)
		}
		seqs = seqs[n:]
	}
}
