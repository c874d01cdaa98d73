package db_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"

	"github.com/google/uuid"
)

// A claim reads few channels with its first round trip, and many channels with another one. In both cases,
// and at the border, each channel's message is handed out once.
func TestClaimsInFewAndInManyChannels(t *testing.T) {
	dbtest.Long(t) // TestRowsRead is fast
	t.Parallel()
	d := open(t)
	for _, n := range []int{1, 7, 8, 9, 20} {
		user := fmt.Sprint("bot", n)
		claim := func() *db.Wake {
			t.Helper()
			at := position(t, d)
			a, err := d.Claim(t.Context(), db.WakeClaim{
				User: user, Create: true, Since: at.Seq, At: at, Lease: 1e12, Limit: 100, Around: 20,
			})
			if err != nil {
				t.Fatal(err)
			}
			return a.Wake
		}
		claim()
		left, _ := create(t, d, "ann", user) // a membership that has ended does not count
		if err := d.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
			_, err := tx.RemoveMember(ctx, left, user)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		owed := map[uuid.UUID]bool{}
		for range n {
			channel, _ := create(t, d, "ann", user)
			owed[channel] = true
			post(t, d, channel, "ann", "hi")
		}
		for range n {
			w := claim()
			if w == nil {
				t.Errorf("%d channels: got no wake, want those of %d channels", n, len(owed))
				break
			}
			if c := w.Shown.Channel.ID; !owed[c] || len(w.Shown.Messages) != 1 || w.Shown.Last == nil {
				t.Errorf("%d channels: got %+v, want one message of a channel not yet handed out", n, w.Shown)
			}
			delete(owed, w.Shown.Channel.ID)
		}
		if w := claim(); w != nil {
			t.Errorf("%d channels: got %+v after all channels", n, w)
		}
	}
}

// A claim leases the only row that its own scan adds without a choice. It must not take a row that a choice
// would leave.
func TestANewRowIsLeasedOnlyIfAChoiceWouldTakeIt(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	other, _ := create(t, q.d, "ann", "bot")
	q.post("ann", "new, but not for these claims")
	q.none(db.WakeClaim{Channels: []uuid.UUID{other}})
	q.post("ann", "new once more")
	first := q.wake(db.WakeClaim{Channels: []uuid.UUID{q.channel, other}})
	if n := len(first.Messages); n != 2 {
		t.Errorf("got %d messages, want 2", n)
	}
	q.post("ann", "new in a channel with a live lease")
	q.none(db.WakeClaim{})
	post(t, q.d, other, "ann", "in another guild")
	q.none(db.WakeClaim{Guilds: []string{"g2"}})
	if _, err := q.reply(first.ID, "done"); err != nil {
		t.Fatal(err)
	}
	w := q.wake(db.WakeClaim{}) // leaves the row of the other channel
	if err := q.d.UnclaimWake(t.Context(), q.ref(w.ID)); err != nil {
		t.Fatal(err)
	}
	for _, at := range []uuid.UUID{q.channel, other} { // the older row comes first
		third, _ := create(t, q.d, "ann", "bot")
		post(t, q.d, third, "ann", "new")
		w := q.wake(db.WakeClaim{})
		if w.Shown.Channel.ID != at {
			t.Errorf("got a wake in %v, want the older one in %v", w.Shown.Channel.ID, at)
		}
	}
}

// A new message can be too old already. Then nobody gets it.
func TestANewRowCanBeTooOld(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.post("ann", "too old")
	q.none(db.WakeClaim{MaxAge: 1})
	q.none(db.WakeClaim{})
}

// A scan may add several rows at once. The claim must choose.
func TestAClaimChoosesAmongNewRows(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	other, _ := create(t, q.d, "ann", "bot")
	q.post("ann", "for everyone")
	mention := post(t, q.d, other, "ann", "hi <@bot>", "bot").Seq
	if w := q.wake(db.WakeClaim{}); w.Messages[0] != mention {
		t.Errorf("got the messages %v, want the mention %d first", w.Messages, mention)
	}
}

// The first claim of an instance chooses among the work that it takes over and what is new.
func TestANewInstanceChoosesBetweenOldAndNewWork(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	other, _ := create(t, q.d, "ann", "bot")
	mention := q.post("ann", "hi <@bot>", "bot")
	q.wake(db.WakeClaim{Worker: "w", Instance: "old"})
	post(t, q.d, other, "ann", "for everyone")
	if w := q.wake(db.WakeClaim{Worker: "w", Instance: "new"}); w.Messages[0] != mention {
		t.Errorf("got the messages %v, want the mention %d first", w.Messages, mention)
	}
}

// A lease may end after a claim has found nothing due. Then the claim must say that something is due soon.
func TestALeaseThatEndsDuringAClaimIsDueSoon(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.post("ann", "hi")
	q.wake(db.WakeClaim{})
	at := position(t, q.d)
	holder, watcher := dbtest.Connect(t, q.url), dbtest.Connect(t, q.url)
	exec(t, holder, `BEGIN`)
	exec(t, holder, `LOCK TABLE wake_consumers IN SHARE MODE`) // a claim may lock the queue, not write it
	claimed := make(chan db.Claimed, 1)
	go func() {
		a, err := q.d.Claim(t.Context(), db.WakeClaim{User: "bot", At: at, Lease: time.Minute, Limit: 1})
		if err != nil {
			t.Error(err)
		}
		claimed <- a
	}()
	eventually(t, "the claim waits", func() bool {
		return column[bool](t, watcher, `SELECT EXISTS (SELECT FROM pg_locks
			WHERE relation = 'wake_consumers'::regclass AND NOT granted)`)[0]
	})
	exec(t, holder, `UPDATE wakes SET lease_until = clock_timestamp()`)
	exec(t, holder, `COMMIT`)
	if a := <-claimed; a.Wake == nil && a.Next == 0 {
		t.Errorf("got %+v, want a wake, or the time until one is due", a)
	}
}

// A claim reads the channels of a bounded number of rows. With more rows than that, it must not take the row
// of its scan for a new one. The ids of the other channels sort before that of the real one.
func TestAClaimOfAUserWithManyRowsChooses(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.exec(`INSERT INTO wakes (user_id, channel_id, first_seq, last_seq, first_at, priority, rest_priority,
			not_before)
		SELECT 'bot', lpad(n::text, 32, '0')::uuid, 1, 1, now(), 1, 1, now() + interval '1 hour'
		FROM generate_series(1, 200) n`)
	q.post("ann", "hi")
	w := q.wake(db.WakeClaim{})
	later := time.Hour
	if _, err := q.d.NackWake(t.Context(), q.ref(w.ID), db.Nack{Delay: &later}, 1); err != nil {
		t.Fatal(err)
	}
	q.exec(`INSERT INTO users (id, kind) VALUES ('carol', 'agent')`)
	q.change(func(ctx context.Context, tx db.Tx) error {
		_, err := tx.AddMember(ctx, q.channel, "carol")
		return err
	})
	q.post("carol", "does not end the pause")
	q.none(db.WakeClaim{})
}
