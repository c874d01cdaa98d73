package db_test

import (
	"context"
	"slices"
	"testing"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"

	"github.com/google/uuid"
)

// Of the rows that have been due for a minute, the oldest comes first, whatever its reason. A wake that is
// retried has not been due since its messages were posted.
func TestTheOldestOfThoseThatWait(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	dead := q.declined()
	q.exec(`UPDATE messages SET created_at = created_at - interval '1 hour'`)
	mention, _ := create(t, q.d, "ann", "bot")
	older, _ := create(t, q.d, "ann", "bot")
	fresh, _ := create(t, q.d, "ann", "bot")
	post(t, q.d, mention, "ann", "a mention", "bot")
	post(t, q.d, older, "ann", "for everyone")
	q.none(db.WakeClaim{Channels: []uuid.UUID{uuid.New()}}) // scans
	q.exec(`UPDATE wakes SET first_at = first_at - CASE channel_id WHEN $1 THEN interval '5 minutes'
		ELSE interval '2 minutes' END`, older)
	post(t, q.d, fresh, "ann", "a new mention", "bot")
	if err := q.d.RetryWake(t.Context(), q.ref(dead), position(t, q.d)); err != nil {
		t.Fatal(err)
	}
	want := []uuid.UUID{older, mention, fresh, q.channel}
	var got []uuid.UUID
	for range want {
		got = append(got, q.wake(db.WakeClaim{}).Shown.Channel.ID)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got the order %v, want %v", got, want)
	}
}

// After a wake has become narrow, its second attempt hands out one message already.
func TestTheSecondAttemptOfANarrowWake(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	for range 6 {
		q.post("ann", "one of six")
	}
	for i, want := range []int{6, 6, 1, 2, 1} {
		w := q.wake(db.WakeClaim{})
		if len(w.Messages) != want {
			t.Errorf("hand-out %d: got %d messages, want %d", i+1, len(w.Messages), want)
		}
		var err error
		if i == 2 {
			_, err = q.reply(w.ID, "re")
		} else {
			_, err = q.d.NackWake(t.Context(), q.ref(w.ID), db.Nack{}, 0)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// The attempts are about the oldest message. Once that is gone, the rest begins anew.
func TestANewOldestMessage(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	first := post(t, q.d, q.channel, "ann", "one")
	var rest []int64
	for range 3 {
		rest = append(rest, q.post("ann", "another"))
	}
	for range 2 {
		if _, err := q.d.NackWake(t.Context(), q.ref(q.wake(db.WakeClaim{}).ID), db.Nack{}, 0); err != nil {
			t.Fatal(err)
		}
	}
	q.change(func(ctx context.Context, tx db.Tx) error {
		_, err := tx.EditMessage(ctx, &first.Message, "ann", "", true, "")
		return err
	})
	if w := q.wake(db.WakeClaim{}); w.Attempt != 1 || !slices.Equal(w.Messages, rest) {
		t.Errorf("got attempt %d with %v, want the first with %v", w.Attempt, w.Messages, rest)
	}
}

// What a reply leaves has the priority of the strongest reason in it, and no other.
func TestThePriorityOfTheRest(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		first, rest []string // whom the messages mention
		want        int
	}{
		"a weak one, then a mention": {nil, []string{"bot"}, 5},
		"a mention, then a weak one": {[]string{"bot"}, nil, 1},
	} {
		for _, again := range []bool{false, true} {
			q := newQueue(t)
			q.post("ann", "first", tt.first...)
			q.post("ann", "rest", tt.rest...)
			w := q.wake(db.WakeClaim{Limit: 1})
			if again { // the row is there before the claim
				if err := q.d.UnclaimWake(t.Context(), q.ref(w.ID)); err != nil {
					t.Fatal(err)
				}
				w = q.wake(db.WakeClaim{Limit: 1})
			}
			if _, err := q.reply(w.ID, "re"); err != nil {
				t.Fatal(err)
			}
			got := column[int](t, dbtest.Connect(t, q.url), `SELECT priority FROM wakes`)
			if !slices.Equal(got, []int{tt.want}) {
				t.Errorf("%s, again %v: got the priority %v, want %d", name, again, got, tt.want)
			}
		}
	}
}
