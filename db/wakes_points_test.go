package db_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"
	"fabric-guild/events"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

// change runs a change of the guild, as a request does.
func (q *queueTest) change(do func(ctx context.Context, tx db.Tx) error) {
	q.t.Helper()
	if err := q.d.InTx(q.t.Context(), do); err != nil {
		q.t.Fatal(err)
	}
}

// drain claims and acks until nothing is due, and returns the numbers of all messages, sorted.
func (q *queueTest) drain() (all []int64) {
	q.t.Helper()
	for {
		a := q.claim(db.WakeClaim{Rung: rand.IntN(2) == 0}) // what is handed out must not depend on it
		if a.Wake == nil && !a.Again {
			slices.Sort(all)
			return all
		}
		if a.Wake == nil {
			continue
		}
		all = append(all, a.Wake.Messages...)
		if err := q.d.AckWake(q.t.Context(), q.ref(a.Wake.ID), db.Ack{}); err != nil {
			q.t.Fatal(err)
		}
	}
}

// The queue hands out exactly what the stream shows as waking, for the intervals that are open now, message
// by message, in random histories with joins, leaves, edits, deletes, wake lists, turns, both delivery modes
// and retention.
func TestTheQueueEqualsTheStream(t *testing.T) {
	t.Parallel()
	for seed := range histories(6) {
		t.Run(fmt.Sprint("history ", seed), func(t *testing.T) {
			t.Parallel()
			q := newQueue(t)
			rng := rand.New(rand.NewPCG(seed, rand.Uint64()))
			q.exec(
				`INSERT INTO users (id, kind) VALUES ('carol', 'agent') ON CONFLICT (id) DO UPDATE
					SET kind = 'agent'`,
			)
			start := position(t, q.d)
			var channels []events.Channel
			joined := map[uuid.UUID]bool{}
			for _, x := range []events.XType{
				events.General, events.Report, events.Triage, events.Custom,
				events.Discuss, events.DM,
			} {
				c := events.Channel{
					ID: uuid.Must(uuid.NewV7()), GuildID: "g1", Name: string(x), XType: x, History: "joined",
					CreatedBy: "ann",
					Settings:  events.DefaultSettings(x),
				}
				if x != events.DM && x != events.Discuss && rng.IntN(2) == 0 {
					c.HumanWakes = "mentions"
				}
				users := []string{"ann", "bot", "carol"}
				if x == events.DM {
					users = users[:2]
				}
				q.change(func(ctx context.Context, tx db.Tx) error {
					_, _, err := tx.CreateChannel(ctx, &c, users, nil)
					return err
				})
				channels = append(channels, c)
				joined[c.ID] = true
			}
			var posted []events.Message
			some := func(users ...string) (chosen []string) {
				for _, u := range users {
					if rng.IntN(2) == 0 {
						chosen = append(chosen, u)
					}
				}
				return chosen
			}
			for range 150 {
				if rng.IntN(10) == 0 { // what it finds may not be owed any more at the end
					if _, err := q.d.ScanWakes(t.Context(), "bot", position(t, q.d)); err != nil {
						t.Fatal(err)
					}
				}
				c := channels[rng.IntN(len(channels))]
				members := []string{"ann", "carol"}
				if c.XType == events.DM {
					members = members[:1]
				}
				q.change(func(ctx context.Context, tx db.Tx) (err error) {
					if err := tx.LockChannel(ctx, c.ID); err != nil {
						return err
					}
					switch dice := rng.IntN(20); {
					case dice == 0 && c.XType != events.DM && joined[c.ID]:
						_, err = tx.RemoveMember(ctx, c.ID, "bot")
						joined[c.ID] = err != nil
					case dice <= 1 && c.XType != events.DM && !joined[c.ID]:
						_, err = tx.AddMember(ctx, c.ID, "bot")
						joined[c.ID] = err == nil
					case dice == 2 && (c.XType == events.Triage || c.XType == events.Custom):
						_, err = tx.SetWakeList(ctx, c.ID, "ann", append([]string{}, some("bot", "carol")...))
					case dice <= 4 && len(posted) > 0:
						m := &posted[rng.IntN(len(posted))]
						if !m.Deleted {
							_, err = tx.EditMessage(ctx, m, m.AuthorUserID, "edited", rng.IntN(2) == 0, "")
						}
					default:
						m := newMessage(c.ID, members[rng.IntN(len(members))], "hi", some("bot", "carol")...)
						m.TwoState = rng.IntN(4) == 0
						if c.XType == events.Discuss {
							m.TurnUserID = []string{"ann", "bot", "carol"}[rng.IntN(3)]
						}
						var p db.Post
						if p, err = tx.Post(ctx, m); err == nil {
							posted = append(posted, p.Message)
						}
					}
					return err
				})
			}

			end := position(t, q.d)
			since := map[uuid.UUID]int64{}
			conn := dbtest.Connect(t, q.url)
			for _, c := range channels {
				seq := column[int64](t, conn,
					`SELECT joined_seq FROM members WHERE channel_id = $1 AND user_id = 'bot'
						AND left_seq IS NULL`, c.ID)
				if len(seq) == 1 {
					since[c.ID] = seq[0]
				}
			}
			var want []int64
			for at := start.Seq; at < end.Seq; {
				page, err := q.d.Replay(t.Context(), "bot", at, end.Seq)
				if err != nil {
					t.Fatal(err)
				}
				for _, h := range page.Events {
					m := h.Event.Message
					from, member := since[h.Event.ChannelID]
					if h.Event.Kind != events.MessageCreated || m.Deleted || !member || m.Seq < from {
						continue
					}
					if outcome, _ := m.Facts().Decide("bot"); outcome == events.Wake {
						want = append(want, m.Seq)
					}
				}
				at = page.Reached
			}
			if seed%2 == 1 { // retention has removed half of the event log
				exec(t, conn, `UPDATE log_floor SET seq = $1`, (start.Seq+end.Seq)/2)
				exec(t, conn, `DELETE FROM events WHERE seq <= $1`, (start.Seq+end.Seq)/2)
			}
			if diff := cmp.Diff(want, q.drain()); diff != "" || len(want) == 0 {
				t.Errorf("%d messages wake (-stream +queue):\n%s", len(want), diff)
			}
			if n := column[int](t, conn, `SELECT count(*) FROM wakes`)[0]; n != 0 {
				t.Errorf("got %d rows left, want none", n)
			}
		})
	}
}

// No channel blocks another: with one leased and one paused, the next is handed out. A message in a dm comes
// next, behind two hundred other rows.
func TestNoChannelBlocksAnother(t *testing.T) {
	dbtest.Long(t) // TestTheOrderOfClaims is fast
	t.Parallel()
	q := newQueue(t)
	for range 200 {
		channel, _ := create(t, q.d, "ann", "bot")
		post(t, q.d, channel, "ann", "hi")
	}
	leased := q.wake(db.WakeClaim{})
	paused := q.wake(db.WakeClaim{})
	if _, err := q.d.NackWake(t.Context(), q.ref(paused.ID), db.Nack{}, 1); err != nil {
		t.Fatal(err)
	}
	next := q.wake(db.WakeClaim{})
	if next.Shown.Channel.ID == leased.Shown.Channel.ID || next.Shown.Channel.ID == paused.Shown.Channel.ID {
		t.Errorf("got a channel that is leased or paused: %v", next.Shown.Channel.ID)
	}
	q.exec(`UPDATE wakes SET first_at = first_at - interval '2 minutes'`)
	dm := events.Channel{
		ID: uuid.Must(uuid.NewV7()), GuildID: "g1", XType: events.DM, History: "joined",
		CreatedBy: "ann", Settings: events.DefaultSettings(events.DM),
	}
	q.change(func(ctx context.Context, tx db.Tx) error {
		_, _, err := tx.CreateChannel(ctx, &dm, []string{"ann", "bot"}, nil)
		return err
	})
	post(t, q.d, dm.ID, "ann", "urgent")
	if w := q.wake(db.WakeClaim{}); w.Shown.Channel.ID != dm.ID || w.Reason != events.Direct {
		t.Errorf("got %+v, want the direct message", w)
	}
}

// After a delete or an archive nothing is owed, whether the queue has scanned it or not.
func TestNothingIsOwedAfterADeleteOrAnArchive(t *testing.T) {
	t.Parallel()
	for _, scanned := range []bool{false, true} {
		q := newQueue(t)
		p := post(t, q.d, q.channel, "ann", "oops")
		archived, _ := create(t, q.d, "ann", "bot")
		post(t, q.d, archived, "ann", "hi")
		if scanned {
			q.claim(db.WakeClaim{Channels: []uuid.UUID{uuid.New()}})
		}
		q.change(func(ctx context.Context, tx db.Tx) error {
			if _, err := tx.EditMessage(ctx, &p.Message, "ann", "", true, ""); err != nil {
				return err
			}
			_, _, err := tx.ArchiveChannel(ctx, archived, "ann")
			return err
		})
		if got := q.drain(); len(got) > 0 {
			t.Errorf("scanned: %v: got %v, want nothing", scanned, got)
		}
	}
}

// A queue that is many thousand events behind catches up, a claim at a time, and finds what it is owed.
func TestAQueueFarBehindCatchesUp(t *testing.T) {
	dbtest.Long(t) // TestTheOrderOfClaims is fast
	t.Parallel()
	q := newQueue(t)
	conn := dbtest.Connect(t, q.url)
	foreign, _ := create(t, q.d, "alice")
	first := q.post("ann", "one")
	others := 300_000
	if testing.Short() {
		others = 20_000
	}
	fill(t, conn, foreign, others)
	fill(t, conn, q.channel, 5_000)
	exec(t, conn, `UPDATE wake_consumers SET scanned_seq = since_seq`)
	claims := 0
	for again := true; again; claims++ {
		again = q.claim(db.WakeClaim{Channels: []uuid.UUID{uuid.New()}}).Again
	}
	if w := q.wake(db.WakeClaim{}); w.Messages[0] != first || len(w.Messages) != 100 || !w.More {
		t.Errorf("got %d messages from %d after %d claims, want 100 from %d", len(w.Messages), w.Messages[0],
			claims, first)
	}
	last := column[int64](t, conn, `SELECT max(last_seq) FROM wakes`)[0]
	if end := column[int64](t, conn, `SELECT max(seq) FROM messages`)[0]; last != end {
		t.Errorf("got a row up to %d, want up to %d", last, end)
	}
}

// A claim whose answer did not reach its client costs no attempt. So five of them do not make a wake dead.
func TestLostAnswersCostNothing(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.post("ann", "one")
	for range 6 {
		w := q.wake(db.WakeClaim{})
		if w.Attempt != 1 {
			t.Fatalf("got attempt %d, want the first", w.Attempt)
		}
		if err := q.d.UnclaimWake(t.Context(), q.ref(w.ID)); err != nil {
			t.Fatal(err)
		}
	}
}

// A lease ends by Postgres' clock, and never later than an hour after the claim, however often it is
// extended.
func TestALeaseEnds(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.post("ann", "one")
	w := q.wake(db.WakeClaim{Lease: 600 * time.Second})
	q.exec(`UPDATE wakes SET claimed_at = claimed_at - interval '55 minutes'`)
	x, err := q.d.ExtendWake(t.Context(), q.ref(w.ID), 600*time.Second, nil)
	if err != nil || x.Lease > 5*time.Minute {
		t.Errorf("got %+v and error %v, want five minutes at most", x, err)
	}
	q.none(db.WakeClaim{})
	q.expire()
	if again := q.wake(db.WakeClaim{}); again.Attempt != 2 {
		t.Errorf("got attempt %d, want 2", again.Attempt)
	}
}
