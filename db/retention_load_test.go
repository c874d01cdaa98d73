package db_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"
	"fabric-guild/events"
	"fabric-guild/events/ssetest"
)

// A read is what a reader got: every event in (from, to]. The next page may have expired.
type read struct {
	who      string
	from, to int64
	got      []int64
	expired  bool
}

// Rule 16 under load: retention runs all the time, close to the end of the event log. Members of few and of
// many channels read pages from the floor on, and a server tails. Each reader gets everything, or an error
// that says that events are gone.
func TestReadersLoseNothingDuringRetention(t *testing.T) {
	dbtest.Long(t) // TestReplayBelowTheFloorIsRefused is fast
	t.Parallel()
	const kept = 40
	url := dbtest.New(t)
	d, other := openURL(t, url), openURL(t, url)
	channel, _ := create(t, d, "alice", "bob", "carol")
	var start events.Cursor
	for range 20 {
		_, start = create(t, d, "carol")
	}
	ctx, stop := context.WithTimeout(t.Context(), ssetest.Patience)
	defer stop()
	var mu sync.Mutex
	var posted []int64
	var reads []read
	outcomes := map[string]int{}
	note := func(r read) { // until each reader was often in time and often too late
		mu.Lock()
		defer mu.Unlock()
		reads = append(reads, r)
		outcomes[fmt.Sprintf("%s, expired %v", r.who, r.expired)]++
		const often = 20
		if min(outcomes["bob, expired true"], outcomes["bob, expired false"], outcomes["carol, expired true"],
			outcomes["carol, expired false"]) >= often {
			stop()
		}
	}
	var removed atomic.Int64
	var wg sync.WaitGroup
	loop := func(do func() error) {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := do(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 3 {
		loop(func() error {
			p, err := d.Post(t.Context(), newMessage(channel, "alice", "hi"))
			mu.Lock()
			defer mu.Unlock()
			posted = append(posted, p.Cursor.Seq)
			return err
		})
	}
	for _, node := range []*db.DB{d, other} {
		loop(func() error {
			n, _, err := node.Retain(t.Context(), db.Retention{Events: kept})
			removed.Add(n)
			return err
		})
	}
	for _, who := range []string{"bob", "carol"} {
		c := dbtest.Connect(t, url)
		loop(func() error {
			r, err := pageThrough(t.Context(), d, who, func() (floor int64, err error) {
				err = c.QueryRow(t.Context(), `SELECT greatest(seq, $1) FROM log_floor`,
					start.Seq).Scan(&floor)
				return floor, err
			})
			note(r)
			return err
		})
	}
	node := read{who: "a node", from: start.Seq, to: start.Seq}
	loop(func() error {
		tail, err := other.Tail(t.Context(), events.Cursor{Seq: node.to}, 20)
		if tail.Floor > node.to {
			node.expired = true
			note(node)
			node = read{who: "a node", from: tail.Floor, to: tail.Floor}
		}
		if n := len(tail.Events); n > 0 {
			node.got, node.to = append(node.got, seqs(tail.Events)...), tail.Events[n-1].Cursor.Seq
		}
		return err
	})
	wg.Wait()
	reads = append(reads, node)

	slices.Sort(posted)
	for _, r := range reads {
		if want := between(posted, r.from, r.to); !slices.Equal(r.got, want) {
			t.Fatalf("%s in (%d, %d]: got %v, want %v", r.who, r.from, r.to, r.got, want)
		}
	}
	t.Logf("%d posted, %d removed, reads: %v", len(posted), removed.Load(), outcomes)
	for _, who := range []string{"bob", "carol"} {
		if outcomes[who+", expired true"] == 0 || outcomes[who+", expired false"] == 0 {
			t.Errorf("retention overtook %s never or always: the test proves nothing", who)
		}
	}
}

// pageThrough reads a user's part of the event log, from the current floor to the current end.
func pageThrough(ctx context.Context, d *db.DB, who string, floor func() (int64, error)) (r read, err error) {
	r.who = who
	if r.from, err = floor(); err != nil {
		return r, err
	}
	end, err := d.Head(ctx)
	for r.to = r.from; err == nil && r.to < end.Seq; {
		var page events.Page
		page, err = d.Replay(ctx, who, r.to, end.Seq)
		if errors.Is(err, events.ErrExpired) {
			r.expired = true
			return r, nil
		}
		r.got, r.to = append(r.got, heard(page)...), max(r.to, page.Reached)
	}
	return r, err
}

// between returns the numbers of a sorted list that are in (from, to].
func between(sorted []int64, from, to int64) []int64 {
	first, found := slices.BinarySearch(sorted, from)
	if found {
		first++
	}
	last, found := slices.BinarySearch(sorted, to)
	if found {
		last++
	}
	return sorted[first:max(first, last)]
}
