package db_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"
	"fabric-guild/events"

	"github.com/google/uuid"
)

// A guarded channel has the human alice and agents b0, b1, ….
func guardedChannel(t *testing.T, agents, limit int) (url string, d *db.DB, channel uuid.UUID) {
	t.Helper()
	url = dbtest.New(t)
	d = openURL(t, url)
	c := dbtest.Connect(t, url)
	names := []string{"alice"}
	for i := range agents {
		names = append(names, fmt.Sprint("b", i))
	}
	exec(t, c, `INSERT INTO users (id, kind) SELECT u, 'agent' FROM unnest($1::text[]) AS u`, names[1:])
	channel, _ = create(t, d, names...)
	exec(t, c, `UPDATE channels SET loop_limit = $2 WHERE id = $1`, channel, limit)
	return url, d, channel
}

func message(channel uuid.UUID, author string) db.NewMessage {
	return db.NewMessage{Message: events.Message{
		ID: uuid.Must(uuid.NewV7()), ChannelID: channel, AuthorUserID: author, Content: "hi",
	}}
}

func bound(t *testing.T, d *db.DB, m db.NewMessage) events.Bound {
	t.Helper()
	p, err := d.Post(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return p.Bound
}

func TestTheLoopGuard(t *testing.T) {
	t.Parallel()
	url, d, channel := guardedChannel(t, 2, 3)
	c := dbtest.Connect(t, url)
	trips := func() int64 {
		return column[int64](t, c, `SELECT count(*) FROM events WHERE kind = 'guard.tripped'`)[0]
	}
	say := func(what string, author string, want ...events.Bound) {
		t.Helper()
		for i, w := range want {
			if got := bound(t, d, message(channel, author)); got != w {
				t.Errorf("%s: message %d of %s: got the bound %q, want %q", what, i+1, author, got, w)
			}
		}
	}
	free, first, muted := events.NoBound, events.BoundTripped, events.BoundGuard
	say("up to the limit", "b0", free, free)
	say("another agent counts too", "b1", free, first, muted, muted, muted, muted, muted)
	if got := trips(); got != 1 {
		t.Errorf("got %d events, want 1 for a run", got)
	}
	say("a human begins again", "alice", free)
	notice := message(channel, "b0")
	notice.Notice = true
	for range 10 {
		if got := bound(t, d, notice); got != events.BoundNotice {
			t.Errorf("got the bound %q for a notice", got)
		}
		notice.ID = uuid.Must(uuid.NewV7())
	}
	say("notices do not count", "b0", free, free, free, first, muted)
	err := d.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error { return tx.Go(ctx, channel) })
	if err != nil {
		t.Fatal(err)
	}
	say("after /go", "b0", free, free, free, first)
	exec(t, c, `UPDATE messages SET created_at = created_at - interval '61 minutes'`)
	say("after an hour of quiet", "b0", free, free, free, first, muted)
	exec(t, c, `UPDATE channels SET loop_limit = 10`)
	say("a higher limit", "b0", free, free, free, free, free, muted)
	exec(t, c, `UPDATE channels SET loop_limit = 0`)
	say("no limit", "b0", free, free)
	if got := trips(); got != 4 {
		t.Errorf("got %d events, want 4 runs that tripped", got)
	}
}

// Agents that write at once: no more than the limit and the number of writers wake, whether they are stored
// as groups or not, and one event tells.
func TestManyAgentsAtOnce(t *testing.T) {
	dbtest.Long(t) // TestTheLoopGuard is fast
	t.Parallel()
	const limit, each = 5, 6
	for _, agents := range []int{2, 20} {
		t.Run(fmt.Sprint(agents), func(t *testing.T) {
			t.Parallel()
			url, d, channel := guardedChannel(t, agents, limit)
			other := openURL(t, url) // another server
			c := dbtest.Connect(t, url)
			for run := range 2 {
				bound(t, d, message(channel, "alice"))
				var mu sync.Mutex
				var all []events.Bound
				var wg sync.WaitGroup
				for i := range agents {
					at := []*db.DB{d, other}[i%2]
					wg.Go(func() {
						for range each {
							p, err := at.Post(t.Context(), message(channel, fmt.Sprint("b", i)))
							if err != nil {
								t.Error(err)
							}
							mu.Lock()
							all = append(all, p.Bound)
							mu.Unlock()
						}
					})
				}
				wg.Wait()
				free := len(slices.DeleteFunc(slices.Clone(all),
					func(b events.Bound) bool { return b != events.NoBound }))
				if len(all) != agents*each || free < limit || free > limit+agents {
					t.Errorf("got %d of %d messages that wake, want %d to %d of %d", free, len(all), limit,
						limit+agents, agents*each)
				}
				trips := column[int64](t, c, `SELECT count(*) FROM events WHERE kind = 'guard.tripped'`)[0]
				if trips != int64(run+1) {
					t.Errorf("got %d events after run %d, want one for each", trips, run+1)
				}
			}
		})
	}
}

// Of several posts with the same last message, one is stored.
func TestOnePostIsTheFirst(t *testing.T) {
	dbtest.Long(t) // TestAFreshPostWithAKey is fast
	t.Parallel()
	const writers = 16
	url, d, channel := guardedChannel(t, writers, 0)
	c := dbtest.Connect(t, url)
	last := message(channel, "alice")
	bound(t, d, last)
	for range 5 {
		var mu sync.Mutex
		var stored []uuid.UUID
		var wg sync.WaitGroup
		for i := range writers {
			m := message(channel, fmt.Sprint("b", i))
			m.IfLast = &last.ID
			wg.Go(func() {
				p, err := d.Post(t.Context(), m)
				if err == nil {
					mu.Lock()
					stored = append(stored, p.ID)
					mu.Unlock()
				} else if !errors.Is(err, db.ErrRefused) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if len(stored) != 1 {
			t.Fatalf("got %d posts stored, want 1", len(stored))
		}
		last.ID = stored[0]
	}
	if got := column[int64](t, c, `SELECT count(*) FROM messages`)[0]; got != 6 {
		t.Errorf("got %d messages, want 6", got)
	}
	own := message(channel, "alice")
	own.IfLast = new(uuid.New())
	if _, err := d.Post(t.Context(), own); !errors.Is(err, db.ErrRefused) {
		t.Errorf("got %v for a message that does not exist, want a refusal", err)
	}
}

// Posts that are stored by one statement count as if they were stored one by one.
func TestAGroupCountsAsOneByOne(t *testing.T) {
	t.Parallel()
	url, _, channel := guardedChannel(t, 2, 2)
	c := dbtest.Connect(t, url)
	authors := []string{"b0", "b1", "b0", "b1", "alice", "b0", "b1", "b1", "b0"}
	want := []string{"1", "2", "3 tripped", "4 loop_guard", "0", "1", "2", "3 tripped", "4 loop_guard"}
	const group = `
		SELECT n FROM post_messages(1, 1, false, NULL, false,
			ARRAY(SELECT gen_random_uuid() FROM unnest($2::text[])),
			ARRAY(SELECT $1::uuid FROM unnest($2::text[])), $2, $2,
			ARRAY(SELECT NULL::uuid FROM unnest($2::text[])),
			ARRAY(SELECT NULL::text FROM unnest($2::text[])),
			ARRAY(SELECT NULL::text FROM unnest($2::text[])),
			ARRAY(SELECT NULL::text FROM unnest($2::text[])),
			NULL, NULL, NULL, NULL, NULL)`
	exec(t, c, group, channel, authors)
	got := column[string](t, c,
		`SELECT coalesce(agent_run, 0) || coalesce(' ' || bound, '') FROM messages ORDER BY seq`)
	if !slices.Equal(got, want) {
		t.Errorf("got the runs %q, want %q", got, want)
	}
	const trips = `SELECT count(*) FROM events e JOIN messages m ON m.id = e.message_id AND m.seq < e.seq
		AND m.bound = 'tripped'
		WHERE e.kind = 'guard.tripped'`
	if got := column[int64](t, c, trips)[0]; got != 2 {
		t.Errorf("got %d events that follow their message, want 2", got)
	}
}
