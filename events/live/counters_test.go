package live

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/events"
)

// settle lets the tailer read and all streams write.
func settle() {
	time.Sleep(pollInterval)
	synctest.Wait()
}

// wantDeliveries compares the outcomes of the events that streams were offered.
func (n *node) wantDeliveries(t *testing.T, from Source, wake, observer, skip int64) {
	t.Helper()
	settle()
	var got [len(events.Outcomes)]int64
	for outcome := range n.Counters().Deliveries[from] {
		got[outcome] = n.Counters().Deliveries[from][outcome].Load()
	}
	if want := [len(events.Outcomes)]int64{
		events.Wake: wake, events.Observer: observer,
		events.Skip: skip,
	}; got != want {
		t.Errorf("%v: got %v, want %v (skip, observer, wake)", from, got, want)
	}
}

func wantTally(t *testing.T, name string, got *Tally, want map[string]int64) {
	t.Helper()
	settle()
	if diff := cmp.Diff(want, got.Counts()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// The outcome of an event is counted for each stream that was offered the event, by source.
func TestDeliveriesAreCounted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		from := l.create(ops, "alice", "bob", "carol")
		n := newNode(t, l)
		for _, opts := range []Options{
			{User: "alice"},
			{User: "bob"},
			{User: "bob", Filter: events.Filter{Types: []string{"channel.joined"}}},
			{User: "carol"},
		} {
			c := n.open(t, opts)
			c.expect(got{event: "stream.ready"})
			go func() {
				for ok := true; ok; _, ok = c.next() {
				}
			}()
		}
		synctest.Wait()
		n.wantDeliveries(t, SourceLive, 0, 0, 0)
		l.post(ops, "alice", "for bob and carol") // its author and a filter are skips
		n.wantDeliveries(t, SourceLive, 2, 0, 2)
		l.append(&events.Event{
			Kind: events.MessageCreated, ChannelID: ops, UserID: "alice",
			XType: events.General, Message: &events.Message{
				ChannelID: ops, XType: events.General, AuthorUserID: "alice", Content: "for bob",
				MentionUserIDs: []string{"bob"},
			},
		})
		n.wantDeliveries(t, SourceLive, 3, 1, 4)
		at := l.leave(ops, "carol") // all but the filter hear it
		n.wantDeliveries(t, SourceLive, 3, 4, 5)
		n.wantDeliveries(t, SourceRing, 0, 0, 0)

		// bob comes back: once to this node, which has it in its ring, and once to one that has not.
		c := n.open(t, Options{User: "bob", Resume: &from})
		for range 4 { // stream.ready, and what happened above
			c.next()
		}
		c.expect(got{event: events.StreamLive, id: at.String()})
		n.wantDeliveries(t, SourceRing, 2, 1, 0)
		other := newNode(t, l)
		c = other.open(t, Options{User: "bob", Resume: &from})
		for range 4 { // stream.ready, and what happened above
			c.next()
		}
		c.expect(got{event: events.StreamLive, id: at.String()})
		other.wantDeliveries(t, SourceLog, 2, 1, 0)
		other.wantDeliveries(t, SourceLive, 0, 0, 0)
		wantTally(t, "catch-ups here", &n.Counters().CatchUps, map[string]int64{"ring": 1})
		wantTally(t, "catch-ups there", &other.Counters().CatchUps, map[string]int64{"log": 1})
	})
}

func TestOverflowsAreCounted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		l.create(ops, "alice", "bob")
		n := newNode(t, l)
		c := n.open(t, Options{User: "bob"})
		c.expect(got{event: "stream.ready"})
		settle()
		const posts = 3 * queueFrames
		for i := range posts {
			l.post(ops, "alice", fmt.Sprint("message ", i))
		}
		settle()
		counters := n.Counters()
		if got := counters.Overflows.Load(); got != 1 {
			t.Errorf("got %d overflows, want 1", got)
		}
		var bytesRead int64
		for range posts {
			f := c.expect(got{event: "message.created"})
			bytesRead += int64(len(f.data))
		}
		synctest.Wait()
		if got := counters.Deliveries[SourceLive][events.Wake].Load() +
			counters.Deliveries[SourceRing][events.Wake].Load(); got < posts {
			t.Errorf("got %d deliveries, want %d at least: each was read", got, posts)
		}
		if frames, size, writes := counters.WrittenFrames.Load(), counters.WrittenBytes.Load(),
			counters.Writes.Load(); frames != posts+1 || size <= bytesRead || writes < 3 || writes >= frames {
			t.Errorf("got %d frames of %d bytes in %d writes, want %d of more than %d in some", frames, size,
				writes, posts+1, bytesRead)
		}
		wantTally(t, "catch-ups", &counters.CatchUps, map[string]int64{"ring": 1})
		if got := counters.CatchingUp.Load(); got != 0 {
			t.Errorf("got %d streams that catch up, want none", got)
		}
	})
}

// A reader that falls further behind than the ring reaches back reads the event log.
func TestACatchUpIsCountedByWhereItBegins(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		l.create(ops, "alice", "bob")
		n := newNode(t, l)
		c := n.open(t, Options{User: "bob"})
		c.expect(got{event: "stream.ready"})
		settle()
		l.post(ops, "alice", "is being written meanwhile")
		settle()
		for range ringEvents + 2*queueFrames {
			l.post(ops, "alice", "much")
		}
		time.Sleep(10 * time.Second)
		for range 2 * queueFrames {
			c.expect(got{event: "message.created"})
		}
		wantTally(t, "catch-ups", &n.Counters().CatchUps, map[string]int64{"log": 1})
	})
}

func TestStreamsAreCountedUntilTheyEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		gone := l.create(ops, "alice", "bob")
		at := l.post(ops, "alice", "kept")
		n := newNode(t, l)
		l.set(func() { l.floor = at.Seq; l.down = true })
		waiting := n.open(t, Options{User: "bob", Resume: &gone})
		synctest.Wait()
		c := n.Counters()
		if got := c.CatchingUp.Load(); got != 1 {
			t.Errorf("got %d streams that catch up, want the one whose log is down", got)
		}
		l.set(func() { l.down = false })
		waiting.expect(got{event: "stream.reset"})
		n.open(t, Options{User: "bob", Resume: &events.Cursor{Epoch: 1, Seq: 1}}).expect(got{
			event: "stream.reset",
		})
		expiring := n.open(t, Options{User: "bob", Expires: time.Now().Add(time.Second)})
		expiring.expect(got{event: "stream.ready"})
		stalled := n.open(t, Options{User: "bob"})
		stalled.expect(got{event: "stream.ready"})
		wantTally(t, "open", &c.Open, map[string]int64{"raw": 4})
		wantTally(t, "resets", &c.Resets, map[string]int64{"expired": 1, "unknown_epoch": 1})
		wantTally(t, "catch-ups", &c.CatchUps, nil)

		expiring.expect(got{event: "stream.closing"})
		expiring.expectEnd()
		_ = waiting.conn.Close()
		wantTally(t, "closed", &c.Closed, map[string]int64{"token_expired": 1, "disconnected": 1})
		l.post(ops, "alice", "not taken")
		// of the two that are left one does not read; nor does the other
		time.Sleep(writeTimeout + time.Second)
		wantTally(t, "closed", &c.Closed,
			map[string]int64{"token_expired": 1, "disconnected": 1, "stalled": 2})
		wantTally(t, "open", &c.Open, map[string]int64{"raw": 0})
		wantTally(t, "opened", &c.Opened, map[string]int64{"raw": 4})

		if _, err := n.Poll(t.Context(), Options{User: "bob"}, 10, 0); err != nil {
			t.Error(err)
		}
		rotated := n.open(t, Options{User: "bob", Rotates: time.Now().Add(time.Second)})
		rotated.expect(got{event: "stream.ready"})
		rotated.expect(got{event: "stream.closing"})
		rotated.expectEnd()
		closed := map[string]int64{
			"token_expired": 1, "disconnected": 1, "stalled": 2, "answered": 1,
			"rotated": 1,
		}
		wantTally(t, "closed", &c.Closed, closed)
		wantTally(t, "opened", &c.Opened, map[string]int64{"raw": 5, "poll": 1})

		last := n.open(t, Options{User: "bob"})
		last.expect(got{event: "stream.ready"})
		go n.Close(context.Background())
		last.expect(got{event: "stream.closing"})
		last.expectEnd()
		closed["drain"] = 1
		wantTally(t, "closed", &c.Closed, closed)
	})
}

// Held shows a transaction that does not end, but not many that follow one another. A horizon that is held
// too long is logged once.
func TestTheHorizonIsWatched(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var lines bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&lines, nil))
		x := &Tailer{}
		see := func(horizon, last int64) {
			time.Sleep(15 * time.Second)
			x.horizon.see(events.Tail{Horizon: horizon, Last: last}, logger)
		}
		want := func(undecided int64, held time.Duration, told int) {
			t.Helper()
			got := [...]any{x.Undecided(), x.Held(), bytes.Count(lines.Bytes(), []byte("\n"))}
			if want := [...]any{undecided, held, told}; got != want {
				t.Errorf("got %v, want %v: numbers, time, lines in the log", got, want)
			}
		}
		see(5, 5)
		want(0, 0, 0)
		see(5, 7)
		want(2, 0, 0) // since now, as far as is known
		see(6, 8)
		want(2, 0, 0) // it has moved
		see(5, 8)
		want(3, 15*time.Second, 0) // it has stepped back, which is no move
		see(6, 9)
		want(3, 30*time.Second, 1)
		see(6, 9)
		want(3, 45*time.Second, 1)
		x.horizon.unseen()
		want(3, 0, 1)
		see(6, 9)
		want(3, 0, 1)
		see(0, 0) // a read that took no look at the horizon, since what followed was known
		want(0, 0, 2)
		see(6, 9)
		want(3, 0, 2)
		see(6, 9)
		want(3, 15*time.Second, 2)
		see(6, 9)
		see(9, 9)
		want(0, 0, 4)
	})
}

// The latency of an event is counted once, when the event is published.
func TestTheLatencyOfEventsIsCounted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		l.create(ops, "alice")
		n := newNode(t, l)
		l.set(func() { l.blind = true })
		l.append(&events.Event{
			Kind: events.ChannelUpdated, ChannelID: ops, UserID: "alice",
			OccurredAt: events.Time{Time: time.Now()},
		})
		time.Sleep(4 * time.Second)
		l.set(func() { l.blind = false })
		time.Sleep(10 * time.Second)
		l.append(&events.Event{
			Kind: events.ChannelUpdated, ChannelID: ops, UserID: "alice",
			OccurredAt: events.Time{Time: time.Now()},
		})
		synctest.Wait()
		count, sum, atMost := n.tailer.Latency().Read()
		if n.tailer.Events() != 2 || count != 2 || atMost[0.0005] != 1 || atMost[2.5] != 1 ||
			atMost[10] != 2 || sum < 4 {
			t.Errorf("got %d events, %d latencies of %v s together, %v; want 2, one at once and one after "+
				"4 s or more", n.tailer.Events(), count, sum, atMost)
		}
	})
}
