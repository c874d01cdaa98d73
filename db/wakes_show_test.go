package db_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"

	"github.com/google/uuid"
)

// A claim shows what the history shows: of all memberships, up to the scan, and the user's own messages from
// after it. Work that is new and work that was there before are shown by different statements.
func TestAClaimShowsTheHistory(t *testing.T) {
	t.Parallel()
	for _, fresh := range []bool{false, true} {
		for _, newer := range []int{1, 11, 30} {
			t.Run(fmt.Sprintf("fresh: %v, newer messages: %d", fresh, newer), func(t *testing.T) {
				t.Parallel()
				aClaimShowsTheHistory(t, fresh, newer)
			})
		}
	}
}

func aClaimShowsTheHistory(t *testing.T, fresh bool, newer int) {
	q := newQueue(t)
	member := func(in bool) {
		t.Helper()
		err := q.d.InTx(t.Context(), func(ctx context.Context, tx db.Tx) (err error) {
			if in {
				_, err = tx.AddMember(ctx, q.channel, "bot")
			} else {
				_, err = tx.RemoveMember(ctx, q.channel, "bot")
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		q.post("ann", "of an earlier membership", "carl")
		q.post("bot", "the user's own", "carl")
		member(false)
		q.post("ann", "while the user is away")
		member(true)
	}
	for i := range 4 {
		q.change(func(ctx context.Context, tx db.Tx) error {
			list := [][]string{{"bot"}, {"ann"}, {}, {"ann", "bot"}}[i]
			_, err := tx.SetWakeList(ctx, q.channel, "ann", list)
			return err
		})
		q.post("ann", "for the user")
		q.post("bot", "the user's own, with an answer for nobody", "carl")
	}
	q.exec(`UPDATE messages m SET edited_at = m.created_at, edited_seq = i.left_seq + 1 FROM members i
		WHERE i.user_id = 'bot' AND i.channel_id = m.channel_id AND m.author_user_id = 'ann'
			AND m.seq BETWEEN i.joined_seq AND i.left_seq`) // the user may not see these texts
	at := position(t, q.d)
	for range newer {
		q.post("ann", "after the scan")
	}
	own := q.post("bot", "the user's own, after the scan", "carl")
	redacted, away, listed := 0, 0, 0
	for _, all := range []bool{false, true} {
		q.exec(`UPDATE channels SET history = CASE WHEN $1 THEN 'all' ELSE 'joined' END`, all)
		for _, around := range []int{0, 1, 4, 5, 8, 100} {
			for _, limit := range []int{1, 3, 100} {
				t.Run(fmt.Sprintf("all %v, around %d, limit %d", all, around, limit), func(t *testing.T) {
					w := q.wake(db.WakeClaim{At: at, Around: around, Limit: limit})
					past, err := historyOf(t.Context(), q.d, db.History{
						Channel: q.channel, User: "bot", All: all, Before: at.Seq + 1, Limit: 200,
					})
					if err != nil {
						t.Fatal(err)
					}
					want := []int64{own}
					var handed []int64
					var last uuid.UUID
					for i, m := range past {
						if i == 0 {
							last = m.ID
						}
						if slices.Contains(w.Messages, m.Seq) {
							handed = append(handed, m.Seq)
						} else {
							want = append(want, m.Seq)
						}
					}
					want = want[:min(around, len(want))]
					slices.Reverse(handed)
					if got := seqsOf(w.Shown.Around); !slices.Equal(got, want) {
						t.Errorf("around: got %v, want %v", got, want)
					}
					if got := seqsOf(w.Shown.Messages); !slices.Equal(got, handed) || len(got) == 0 {
						t.Errorf("messages: got %v, want %v", got, handed)
					}
					if w.Shown.Last == nil || *w.Shown.Last != last {
						t.Errorf("last: got %v, want %v", w.Shown.Last, last)
					}
					for _, m := range w.Shown.Around {
						i := slices.IndexFunc(past, func(p db.StoredMessage) bool { return p.ID == m.ID })
						hidden := m.AsSeen(&w.Shown.Channel).Redacted
						if i >= 0 && hidden != past[i].AsSeen(&w.Shown.Channel).Redacted {
							t.Errorf("message %d: got redacted %v, not as in the history", m.Seq, hidden)
						}
						if i >= 0 && (m.In == nil) != (past[i].In == nil) {
							t.Errorf("message %d: got membership %v, want %v", m.Seq, m.In, past[i].In)
						}
						if i >= 0 && m.OnList != past[i].OnList {
							t.Errorf("message %d: got on list %v, not as in the history", m.Seq, m.OnList)
						}
						if m.OnList {
							listed++
						}
						if m.In == nil {
							away++
						}
						if hidden {
							redacted++
						}
					}
					if fresh {
						q.exec(`DELETE FROM wakes`)
						q.exec(`UPDATE wake_consumers SET scanned_seq = since_seq`)
						return
					}
					var now time.Duration
					if _, err := q.d.NackWake(t.Context(), q.ref(w.ID), db.Nack{Delay: &now}, 1); err != nil {
						t.Fatal(err)
					}
				})
			}
		}
	}
	if redacted == 0 || away == 0 || listed == 0 {
		t.Errorf("%d texts were hidden, %d are from when the user was away, %d had the user on the list",
			redacted, away, listed)
	}
}

// A member may leave, or leave and come back, between the scan of a claim and the statement that shows the
// channel. Then the claim shows each message once, none of others from after the scan, and no text that was
// changed while the user was away.
func TestAClaimOfAMemberWhoLeavesMeanwhile(t *testing.T) {
	dbtest.Long(t) // TestAClaimShowsTheHistory is fast
	t.Parallel()
	for _, back := range []bool{false, true} {
		t.Run(fmt.Sprint("comes back: ", back), func(t *testing.T) {
			t.Parallel()
			q := newQueue(t)
			before := q.post("bot", "the user's own", "carl")
			m := post(t, q.d, q.channel, "ann", "for the user")
			at := position(t, q.d)
			holder, watcher := dbtest.Connect(t, q.url), dbtest.Connect(t, q.url)
			exec(t, holder, `BEGIN`)
			exec(t, holder, `LOCK TABLE wakes IN EXCLUSIVE MODE`) // the scan only reads it
			claimed := q.claiming(db.WakeClaim{At: at, Around: 20})
			eventually(t, "the claim has scanned", func() bool {
				return column[bool](t, watcher, `SELECT EXISTS (SELECT FROM pg_locks
					WHERE relation = 'wakes'::regclass AND NOT granted)`)[0]
			})
			q.post("ann", "after the scan")
			q.change(func(ctx context.Context, tx db.Tx) error {
				_, err := tx.RemoveMember(ctx, q.channel, "bot")
				return err
			})
			q.change(func(ctx context.Context, tx db.Tx) error {
				_, err := tx.EditMessage(ctx, &m.Message, "ann", "secret", false, "")
				return err
			})
			if back {
				q.change(func(ctx context.Context, tx db.Tx) error {
					_, err := tx.AddMember(ctx, q.channel, "bot")
					return err
				})
			}
			exec(t, holder, `COMMIT`)
			w := (<-claimed).Wake
			if w == nil {
				t.Fatal("got no wake")
			}
			if got := seqsOf(w.Shown.Messages); !slices.Equal(got, []int64{m.Seq}) {
				t.Errorf("messages: got %v, want %v", got, m.Seq)
			} else if !w.Shown.Messages[0].AsSeen(&w.Shown.Channel).Redacted {
				t.Error("the claim shows a text that was changed while the user was away")
			}
			if got := seqsOf(w.Shown.Around); !slices.Equal(got, []int64{before}) {
				t.Errorf("around: got %v, want %v", got, before)
			}
		})
	}
}

// If the messages that a claim shows cannot be read, nobody has the wake: it goes back to the queue at once.
func TestAClaimThatCannotBeShown(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.post("ann", "work")
	at := position(t, q.d)
	for range 40 {
		q.post("bot", "the user's own, after the scan") // the short statement does not reach back to the work
	}
	q.exec(`ALTER FUNCTION history_of RENAME TO away`) // only the long one calls it
	if a, err := q.tryClaim(q.d, db.WakeClaim{At: at}); !errors.Is(err, db.ErrUnavailable) {
		t.Fatalf("got %+v, %v, want %v", a, err, db.ErrUnavailable)
	}
	q.exec(`ALTER FUNCTION away RENAME TO history_of`)
	if w := q.wake(db.WakeClaim{At: at}); w.Attempt != 1 || len(w.Shown.Messages) != 1 {
		t.Errorf("got %+v, want the first attempt", w)
	}
}

func seqsOf(messages []db.StoredMessage) (seqs []int64) {
	for _, m := range messages {
		seqs = append(seqs, m.Seq)
	}
	return seqs
}

// The messages around those that are handed out have 256 KiB of text together at most, the latest of them.
func TestTheContextIsBounded(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	var all []int64
	for range 4 {
		all = append(all, q.post("bot", strings.Repeat("x", 100<<10)))
	}
	q.post("ann", "work", "bot")
	w := q.wake(db.WakeClaim{Around: 100})
	want := []int64{all[3], all[2]}
	if got := seqsOf(w.Shown.Around); !slices.Equal(got, want) {
		t.Errorf("got the messages %v around, want %v of %v", got, want, all)
	}
}
