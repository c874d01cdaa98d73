package db_test

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"
	"fabric-guild/events"

	"github.com/google/uuid"
)

// Rule 25: sixteen first claims at the same time create one queue, and none fails.
func TestConcurrentFirstClaims(t *testing.T) {
	dbtest.Long(t) // TestAClaimAndItsReply is fast
	t.Parallel()
	q := newQueue(t)
	other := openURL(t, q.url)
	q.post("ann", "before")
	var claiming sync.WaitGroup
	for i := range 16 {
		claiming.Go(func() {
			d := []*db.DB{q.d, other}[i%2]
			if a, err := q.tryClaim(d, db.WakeClaim{User: "carol"}); err != nil || a.Wake != nil {
				t.Errorf("got %+v and error %v, want nothing", a, err)
			}
		})
	}
	claiming.Wait()
}

// Rule 26: a claim whose server is in another epoch than the database changes nothing.
func TestAClaimInAnotherEpoch(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	one := q.post("ann", "one")
	at := position(t, q.d)
	at.Epoch++
	if a := q.none(db.WakeClaim{At: at}); a.Next == 0 || a.Again {
		t.Errorf("got %+v, want that the claim tries again soon", a)
	}
	if w := q.wake(db.WakeClaim{}); !slices.Equal(w.Messages, []int64{one}) {
		t.Errorf("got %v, want the message", w.Messages)
	}
}

// Rule 35: a retried wake does not bring back what was answered after it. Two parts of a channel are
// not leased at the same time. The retried one comes first, before older messages of other channels.
func TestARetryIsNotMerged(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	other, _ := create(t, q.d, "ann", "bot")
	older := post(t, q.d, other, "ann", "older").Seq
	here := db.WakeClaim{Channels: []uuid.UUID{q.channel}}
	one := q.post("ann", "one")
	w := q.wake(here)
	if err := q.d.AckWake(t.Context(), q.ref(w.ID), db.Ack{Declined: true, Note: "no"}); err != nil {
		t.Fatal(err)
	}
	q.post("ann", "two")
	if _, err := q.reply(q.wake(here).ID, "re"); err != nil {
		t.Fatal(err)
	}
	three := q.post("ann", "three")
	q.claim(db.WakeClaim{Channels: []uuid.UUID{uuid.New()}}) // scans
	dead := column[uuid.UUID](t, dbtest.Connect(t, q.url), `SELECT id FROM wakes_dead`)[0]
	if err := q.d.RetryWake(t.Context(), q.ref(dead), position(t, q.d)); err != nil {
		t.Fatal(err)
	}
	w = q.wake(db.WakeClaim{})
	if !slices.Equal(w.Messages, []int64{one}) {
		t.Errorf("got %v, want the first message alone", w.Messages)
	}
	q.none(here)
	if _, err := q.reply(w.ID, "re"); err != nil {
		t.Fatal(err)
	}
	if next := q.wake(db.WakeClaim{}); !slices.Equal(next.Messages, []int64{older}) {
		t.Errorf("got %v after the retried message, want the older one of the other channel", next.Messages)
	}
	if w = q.wake(here); !slices.Equal(w.Messages, []int64{three}) {
		t.Errorf("got %v, want the third message", w.Messages)
	}
}

// The first claim of an instance ends the leases of the others of its worker, and only then. The attempt
// counts, and the old instance's reply counts until somebody claims.
func TestTakeover(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	claim := func(instance string, guilds ...string) db.WakeClaim {
		return db.WakeClaim{Worker: "w", Instance: instance, Guilds: guilds}
	}
	q.none(claim("late"))
	q.post("ann", "one")
	old := q.wake(claim("old"))
	q.none(db.WakeClaim{Worker: "other", Instance: "x"})
	q.none(claim("late")) // was seen before
	q.none(claim("elsewhere", "g2"))
	q.none(claim("elsewhere")) // has been seen, although its token could not end the lease
	next := q.wake(claim("new"))
	if next.Attempt != 2 || !next.Expired {
		t.Errorf("got %+v, want the second attempt", next)
	}
	if _, err := q.reply(old.ID, "too late"); !errors.Is(err, db.ErrWakeLost) {
		t.Errorf("got %v for the old instance, want %v", err, db.ErrWakeLost)
	}
	q.none(claim("newest", "g2"))
	if _, err := q.reply(next.ID, "re"); err != nil {
		t.Error(err)
	}
}

// The order of claims: direct messages, then what has been due for a minute, then the stronger reason.
func TestTheOrderOfClaims(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	var channels []uuid.UUID
	for range 4 {
		channel, _ := create(t, q.d, "ann", "bot")
		channels = append(channels, channel)
	}
	post(t, q.d, channels[0], "ann", "everyone")
	post(t, q.d, channels[1], "ann", "old")
	post(t, q.d, channels[2], "ann", "a mention", "bot")
	post(t, q.d, channels[3], "ann", "a mention that waits", "bot")
	q.claim(db.WakeClaim{Channels: []uuid.UUID{uuid.New()}}) // scans
	q.exec(`UPDATE wakes SET first_at = first_at - interval '2 minutes' WHERE channel_id IN ($1, $2)`,
		channels[1], channels[3])
	// Its pause has ended just now, so it has not been due for long.
	q.exec(`UPDATE wakes SET not_before = clock_timestamp() WHERE channel_id = $1`, channels[3])
	q.exec(`UPDATE wakes SET priority = 6 WHERE channel_id = $1`, channels[0]) // as a dm has
	var got []uuid.UUID
	for range channels {
		got = append(got, q.wake(db.WakeClaim{}).Shown.Channel.ID)
	}
	if want := []uuid.UUID{channels[0], channels[1], channels[2], channels[3]}; !slices.Equal(got, want) {
		t.Errorf("got the order %v, want %v", got, want)
	}
}

// How many messages an attempt hands out: all, all, then one, and after a success twice as many each time.
// What is left has the reason of what is left.
func TestWidth(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	for range 10 {
		q.post("ann", "for everyone")
	}
	q.post("ann", "for bot", "bot")
	q.exec(`INSERT INTO wake_consumers (user_id, since_seq, scanned_seq) VALUES ('ann', 0, 0)`)
	var widths []int
	for range 3 {
		w := q.wake(db.WakeClaim{})
		widths = append(widths, len(w.Messages))
		if _, err := q.d.NackWake(t.Context(), q.ref(w.ID), db.Nack{}, 0); err != nil {
			t.Fatal(err)
		}
	}
	for range 4 {
		w := q.wake(db.WakeClaim{})
		widths = append(widths, len(w.Messages))
		if want := events.Everyone; len(widths) < 7 && w.Reason != want {
			t.Errorf("got the reason %v of a hand-out without a mention, want %v", w.Reason, want)
		}
		if _, err := q.reply(w.ID, "re"); err != nil {
			t.Fatal(err)
		}
		if rest := column[int](t, dbtest.Connect(t, q.url), `SELECT priority FROM wakes`); len(rest) == 1 &&
			rest[0] != 5 {
			t.Errorf("got the priority %v of the rest, want that of the mention", rest)
		}
	}
	if want := []int{11, 11, 1, 1, 2, 4, 4}; !slices.Equal(widths, want) {
		t.Errorf("got hand-outs of %v, want %v", widths, want)
	}
}

// A message by a human ends the pause and takes one attempt back. One by an agent does neither.
func TestAHumanMessageEndsThePause(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.post("ann", "one")
	for want := 1; want <= 2; want++ {
		w := q.wake(db.WakeClaim{})
		if w.Attempt != 1 {
			t.Errorf("got attempt %d, want 1: a message by a human took the last one back", w.Attempt)
		}
		if _, err := q.d.NackWake(t.Context(), q.ref(w.ID), db.Nack{}, 1); err != nil {
			t.Fatal(err)
		}
		q.none(db.WakeClaim{})
		q.post("ann", "please")
	}
	w := q.wake(db.WakeClaim{})
	if _, err := q.d.NackWake(t.Context(), q.ref(w.ID), db.Nack{}, 1); err != nil {
		t.Fatal(err)
	}
	q.post("ann", "beep")
	q.exec(`UPDATE messages SET by_agent = true WHERE content = 'beep'`)
	q.none(db.WakeClaim{})
}

// A wake dies a day after the first attempt that counts. An attempt that was not counted, or that a message
// by a human took back, begins no day.
func TestAWakeDiesAfterADay(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(q *queueTest, w *db.Wake){
		"a nack": func(q *queueTest, w *db.Wake) {
			if _, err := q.d.NackWake(t.Context(), q.ref(w.ID), db.Nack{}, 1); err != nil {
				t.Fatal(err)
			}
		},
		"the end of the lease": func(q *queueTest, _ *db.Wake) { q.expire() },
		"an answer that was lost": func(q *queueTest, w *db.Wake) {
			if err := q.d.UnclaimWake(t.Context(), q.ref(w.ID)); err != nil {
				t.Fatal(err)
			}
		},
		"a nack, and a message by a human": func(q *queueTest, w *db.Wake) {
			if _, err := q.d.NackWake(t.Context(), q.ref(w.ID), db.Nack{}, 1); err != nil {
				t.Fatal(err)
			}
			q.post("ann", "please")
			q.none(db.WakeClaim{Channels: []uuid.UUID{uuid.New()}}) // scans
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := newQueue(t)
			q.post("ann", "one")
			end(q, q.wake(db.WakeClaim{}))
			q.exec(`UPDATE wakes SET first_attempt_at = first_attempt_at - interval '24 hours',
				not_before = NULL`)
			a := q.claim(db.WakeClaim{})
			if name != "a nack" && name != "the end of the lease" {
				if a.Wake == nil || a.Wake.Attempt != 1 {
					t.Errorf("got %+v, want the first attempt", a)
				}
				return
			}
			if a.Wake != nil || len(a.Dead) != 1 {
				t.Fatalf("got %+v, want a dead row", a)
			}
			if _, err := q.d.BuryWake(t.Context(), a.Dead[0]); err != nil {
				t.Fatal(err)
			}
			if got := column[string](t, dbtest.Connect(t, q.url),
				`SELECT outcome FROM wakes_dead`); !slices.Equal(got, []string{"dead"}) {
				t.Errorf("got the dead wakes %v, want one", got)
			}
		})
	}
}

// Messages that are too old end as expired, up to the first that is young or exempt.
func TestMaxAge(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.post("ann", "old")
	q.post("ann", "old")
	mention := q.post("ann", "an old mention", "bot")
	last := q.post("ann", "old, behind a mention")
	q.exec(`UPDATE messages SET created_at = created_at - interval '1 hour'`)
	w := q.wake(db.WakeClaim{MaxAge: time.Minute})
	if !slices.Equal(w.Messages, []int64{mention, last}) || w.Attempt != 1 {
		t.Errorf("got %+v, want the mention and what follows", w)
	}
	if got := column[string](t, dbtest.Connect(t, q.url),
		`SELECT outcome FROM wakes_dead`); !slices.Equal(got, []string{"expired"}) {
		t.Errorf("got the dead wakes %v, want one that is expired", got)
	}
}

// A stopped wake is not handed out again, except for what nobody has tried. A reply that still comes counts.
func TestStop(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(q *queueTest, w *db.Wake) error{
		"nack": func(q *queueTest, w *db.Wake) error {
			_, err := q.d.NackWake(t.Context(), q.ref(w.ID), db.Nack{}, 1)
			return err
		},
		"ack": func(q *queueTest, w *db.Wake) error {
			err := q.d.AckWake(t.Context(), q.ref(w.ID), db.Ack{})
			return err
		},
		"the lease ends": func(q *queueTest, _ *db.Wake) error {
			q.expire()
			for _, part := range q.none(db.WakeClaim{}).Dead {
				if _, err := q.d.BuryWake(t.Context(), part); err != nil {
					return err
				}
			}
			return nil
		},
		"reply": func(q *queueTest, w *db.Wake) error {
			_, err := q.reply(w.ID, "done anyway")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := newQueue(t)
			q.post("ann", "one")
			w := q.wake(db.WakeClaim{})
			two := q.post("ann", "two")
			q.none(db.WakeClaim{})
			if err := q.stop(); err != nil {
				t.Fatal(err)
			}
			if x, err := q.d.ExtendWake(t.Context(), q.ref(w.ID), longLease, nil); err != nil || !x.Stop ||
				x.Newer != 1 {
				t.Errorf("got %+v and error %v, want stop, and one newer message", x, err)
			}
			if err := end(q, w); err != nil {
				t.Fatal(err)
			}
			if next := q.wake(db.WakeClaim{}); !slices.Equal(next.Messages, []int64{two}) {
				t.Errorf("got %v, want only the message that nobody has tried", next.Messages)
			}
			want := "stopped"
			if name == "reply" {
				want = "done"
			}
			states, err := q.d.WakeStates(t.Context(), q.channel, w.Messages[:1], []string{"bot"})
			if err != nil || states[0].State != want {
				t.Errorf("got %+v and error %v, want the state %s", states, err, want)
			}
			q.expire()
			if err := q.stop(); !errors.Is(err, db.ErrNothingToStop) {
				t.Errorf("got %v without a live lease, want %v", err, db.ErrNothingToStop)
			}
		})
	}
}
