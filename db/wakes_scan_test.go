package db_test

import (
	"context"
	"slices"
	"sync"
	"testing"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"
)

// Rule 26: a scan does not pass a writer who has drawn a number and has not committed.
func TestAScanDoesNotPassAWriter(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	drawn, commits := make(chan int64), make(chan struct{})
	commit := sync.OnceFunc(func() { close(commits) })
	defer commit()
	committed := make(chan error, 1)
	go func() {
		committed <- q.d.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
			if err := tx.ShareChannel(ctx, q.channel); err != nil {
				return err
			}
			p, err := tx.Post(ctx, newMessage(q.channel, "ann", "slow"))
			drawn <- p.Seq
			<-commits
			return err
		})
	}()
	slow := <-drawn
	fast := q.post("ann", "fast")
	q.none(db.WakeClaim{})
	commit()
	if err := <-committed; err != nil {
		t.Fatal(err)
	}
	if w := q.wake(db.WakeClaim{}); !slices.Equal(w.Messages, []int64{slow, fast}) {
		t.Errorf("got %v, want both messages, %d and %d", w.Messages, slow, fast)
	}
}

// Rule 27: a claim of a server that lags does not bring back what was answered.
func TestAClaimThatLagsBringsNothingBack(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	other, _ := create(t, q.d, "ann", "bot")
	lagging := position(t, q.d)
	q.post("ann", "one")
	if _, err := q.reply(q.wake(db.WakeClaim{}).ID, "re"); err != nil {
		t.Fatal(err)
	}
	for _, rung := range []bool{false, true} {
		q.none(db.WakeClaim{At: lagging, Rung: rung})
		q.none(db.WakeClaim{Rung: rung})
	}
	if behind, err := q.d.ScanWakes(t.Context(), "bot", lagging); behind || err != nil {
		t.Errorf("got behind %v and error %v of a scan that lags, want neither", behind, err)
	}
	next := post(t, q.d, other, "ann", "two").Seq
	if w := q.wake(db.WakeClaim{}); !slices.Equal(w.Messages, []int64{next}) {
		t.Errorf("got %v, want only the new message %d", w.Messages, next)
	}
}

// Rules 27 and 29: a claim that has waited for the queue goes on from where the other one ended, and sees the
// rows that the other one has left.
func TestAClaimThatWaitedForTheQueue(t *testing.T) {
	t.Parallel()
	const scanned = `UPDATE wake_consumers SET scanned_seq = (SELECT min(seq) FROM messages)`
	const leased = `
		INSERT INTO wakes (user_id, channel_id, first_seq, last_seq, first_at, priority, rest_priority,
			claimed_upto, id, claimed_at, lease_until)
		SELECT 'bot', channel_id, min(seq), min(seq), now(), 1, 1, min(seq), gen_random_uuid(), now(),
			now() + interval '1 hour' FROM messages GROUP BY channel_id; `
	for name, other := range map[string]string{
		"and answered the first message": scanned,
		"and leased the first message":   leased + scanned,
	} {
		t.Run("another one scanned "+name, func(t *testing.T) {
			t.Parallel()
			q := newQueue(t)
			q.post("ann", "one")
			two := q.post("ann", "two")
			holder := dbtest.Connect(t, q.url)
			exec(t, holder, `BEGIN; SELECT FROM wake_consumers FOR UPDATE`)
			claimed := q.claiming(db.WakeClaim{})
			awaitBlocked(t, q.url)
			exec(t, holder, other+`; COMMIT`)
			a := <-claimed
			if other != scanned && a.Wake != nil {
				t.Errorf("got %+v, want nothing while the channel is leased", a.Wake)
			}
			if other == scanned && (a.Wake == nil || !slices.Equal(a.Wake.Messages, []int64{two})) {
				t.Errorf("got %+v, want the second message", a.Wake)
			}
		})
	}
}
