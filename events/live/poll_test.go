package live

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/events"
)

// poll asks once, and returns the events' names with their ids.
func (n *node) poll(t *testing.T, opts Options, limit int, wait time.Duration) (Polled, []string) {
	t.Helper()
	p, err := n.Poll(t.Context(), opts, limit, wait)
	if err != nil {
		t.Fatal(err)
	}
	var shown []string
	for _, f := range p.Frames {
		shown = append(shown, f.Event+" "+f.ID)
	}
	return p, shown
}

// polling asks in the background. The answer comes when the fake clock moves.
func (n *node) polling(t *testing.T, opts Options, limit int, wait time.Duration) <-chan Polled {
	answer := make(chan Polled, 1)
	go func() {
		p, err := n.Poll(t.Context(), opts, limit, wait)
		if err != nil {
			t.Error(err)
		}
		answer <- p
	}()
	synctest.Wait()
	return answer
}

func TestAFirstPollIsASnapshot(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		at := l.create(ops, "alice", "bob")
		for i := range 2 * snapshotFrame {
			at = l.create(channelNamed(i+10), "bob")
		}
		n := newNode(t, l)
		start := time.Now()
		p, shown := n.poll(t, Options{User: "bob"}, 1, time.Minute)
		want := []string{"stream.ready ", "stream.channels ", "stream.channels " + at.String()}
		if diff := cmp.Diff(want, shown); diff != "" || p.Cursor != at.String() || p.Reset != "" {
			t.Errorf("got cursor %s, want %s (-want +got):\n%s", p.Cursor, at, diff)
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("it took %v, want an answer at once", d)
		}
		next := l.post(ops, "alice", "hi")
		if _, shown := n.poll(t, Options{User: "bob", Resume: &at}, 1, time.Minute); !cmp.Equal(shown,
			[]string{"message.created " + next.String()}) {
			t.Errorf("got %q, want what came after the snapshot", shown)
		}
	})
}

func TestAFirstPollOfAnEmptyLog(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p, shown := newNode(t, newMemLog()).poll(t, Options{User: "bob"}, 1, time.Minute)
		if !cmp.Equal(shown, []string{"stream.ready 7.0"}) || p.Cursor != "7.0" {
			t.Errorf("got %q and cursor %s, want stream.ready at 7.0", shown, p.Cursor)
		}
	})
}

func TestAPollWaitsForAsLongAsItIsAskedTo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		from := l.create(ops, "alice", "bob")
		n := newNode(t, l)
		for _, wait := range []time.Duration{0, time.Second, time.Minute} {
			at := l.post(ops, "bob", "skipped by its author")
			time.Sleep(time.Second) // the node has read it
			start := time.Now()
			p, shown := n.poll(t, Options{User: "bob", Resume: &from}, 10, wait)
			if d := time.Since(start); d != wait || len(shown) != 0 || p.Cursor != at.String() {
				t.Errorf("got %q and cursor %s after %v, want none and %s after %v", shown, p.Cursor,
					d, at, wait)
			}
		}
	})
}

// The first event ends a poll at once. While the poll waits, it uses the router, and does not read the event
// log.
func TestAWaitingPollCostsNoQuery(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		from := l.create(ops, "alice", "bob")
		n := newNode(t, l)
		answer := n.polling(t, Options{User: "bob", Resume: &from}, 10, time.Minute)
		asked := func() (n int) { l.set(func() { n = l.asked }); return n }
		before := asked()
		start := time.Now()
		for range 50 {
			time.Sleep(time.Second)
			l.post(ops, "bob", "his own")
			l.post(channelNamed(2), "carol", "elsewhere")
		}
		at := l.post(ops, "alice", "hi")
		p := <-answer
		if d := time.Since(start); d > 51*time.Second {
			t.Errorf("the answer came after %v, want it with the message", d)
		}
		if len(p.Frames) != 1 || p.Cursor != at.String() {
			t.Errorf("got %d frames and %s, want the message at %s", len(p.Frames), p.Cursor, at)
		}
		if got := asked() - before; got != 0 {
			t.Errorf("got %d queries while it waited, want none", got)
		}
	})
}

func TestAUserWhoJoinsDuringAPollHearsIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		from := l.create(ops, "alice")
		n := newNode(t, l)
		answer := n.polling(t, Options{User: "bob", Resume: &from}, 10, time.Minute)
		l.post(ops, "alice", "before")
		joined := l.join(ops, "bob")
		p := <-answer
		if len(p.Frames) != 1 || p.Frames[0].Event != "channel.joined" || p.Cursor != joined.String() {
			t.Fatalf("got %d frames and %s, want channel.joined at %s", len(p.Frames), p.Cursor, joined)
		}
		answer = n.polling(t, Options{User: "bob", Resume: &joined}, 10, time.Minute)
		said := l.post(ops, "alice", "welcome")
		if p := <-answer; len(p.Frames) != 1 || p.Cursor != said.String() {
			t.Errorf("got %d frames and %s, want the message at %s", len(p.Frames), p.Cursor, said)
		}
	})
}

// A backlog comes in pieces of the limit, from the event log, the ring and the queue, and nothing is missing.
func TestPollsGoThroughABacklogInPieces(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		from := l.create(ops, "alice", "bob")
		var want []string
		post := func(n int) {
			for range n {
				want = append(want, "message.created "+l.post(ops, "alice", "missed").String())
				l.post(ops, "bob", "his own")
			}
		}
		post(300)
		n := newNode(t, l) // reads none of it: it is in the log only
		post(300)          // in the ring too
		time.Sleep(time.Second)
		var got []string
		for at := from; len(got) < len(want); {
			limit := 1 + rand.IntN(90)
			p, shown := n.poll(t, Options{User: "bob", Resume: &at}, limit, 0)
			if least := min(limit, len(want)-len(got)); len(shown) != least {
				t.Fatalf("got %d events, want %d of the %d that are left", len(shown), least,
					len(want)-len(got))
			}
			got = append(got, shown...)
			at, _ = events.ParseCursor(p.Cursor)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestAnAnswerIsBoundedInBytes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		from := l.create(ops, "alice", "bob")
		n := newNode(t, l)
		var last events.Cursor
		for range 10 {
			last = l.post(ops, "alice", strings.Repeat("x", queueBytes/4))
		}
		time.Sleep(time.Second)
		for at, polls := from, 0; at != last; polls++ {
			p, _ := n.poll(t, Options{User: "bob", Resume: &at}, 200, 0)
			if len(p.Frames) == 0 || len(p.Frames) > 4 || polls > 10 {
				t.Fatalf("got %d frames in an answer, want some, of no more than about a MiB", len(p.Frames))
			}
			at, _ = events.ParseCursor(p.Cursor)
		}
	})
}

// LOG rule 17: events that a filter leaves out move the cursor too. The backlog is longer than any page.
func TestAPollThatFindsNothingMovesOn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		from := l.create(ops, "alice", "bob")
		var last events.Cursor
		for range 200 {
			last = l.post(ops, "alice", "not asked for")
		}
		n := newNode(t, l)
		p, shown := n.poll(t, Options{
			User: "bob", Resume: &from,
			Filter: events.Filter{Types: []string{"channel.joined"}},
		}, 10, 0)
		if len(shown) != 0 || p.Cursor != last.String() {
			t.Errorf("got %q and cursor %s, want none and %s", shown, p.Cursor, last)
		}
	})
}

// An event log that fails halfway through the backlog delays a poll for a bounded time, and the next poll
// does not read the first half again.
func TestAPollWhoseLogFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		from := l.create(ops, "alice", "bob")
		for range 200 {
			l.post(ops, "alice", "not asked for")
		}
		n := newNode(t, l)
		l.set(func() { l.lasts = 3 })
		start := time.Now()
		p, _ := n.poll(t, Options{
			User: "bob", Resume: &from,
			Filter: events.Filter{Types: []string{"channel.joined"}},
		}, 10, time.Second)
		if want := fmt.Sprint("7.", from.Seq+100); p.Cursor != want {
			t.Errorf("got cursor %s, want %s: two pages", p.Cursor, want)
		}
		if d := time.Since(start); d != time.Second+pollGrace {
			t.Errorf("it took %v, want its wait and the grace", d)
		}
		opts := Options{User: "bob", Resume: &from}
		if _, err := n.Poll(t.Context(), opts, 10, time.Second); !errors.Is(err, ErrUnread) {
			t.Errorf("a log that is down from the start: got %v, want %v", err, ErrUnread)
		}
	})
}

func TestAPollFromACursorThatIsGoneIsAReset(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		from := l.create(ops, "alice", "bob")
		at := l.post(ops, "alice", "gone")
		n := newNode(t, l)
		l.set(func() { l.floor = at.Seq })
		for _, tt := range []struct {
			from   events.Cursor
			reason string
		}{{from, "expired"}, {events.Cursor{Epoch: 1, Seq: 1}, "unknown_epoch"}} {
			p, shown := n.poll(t, Options{User: "bob", Resume: &tt.from}, 10, time.Minute)
			if !cmp.Equal(shown, []string{"stream.reset " + at.String()}) || p.Cursor != at.String() ||
				p.Reset != tt.reason {
				t.Errorf("got %q, cursor %s and reset %q, want stream.reset at %s and %s",
					shown, p.Cursor, p.Reset, at, tt.reason)
			}
		}
	})
}

// The cursor of a poll that a failover ends keeps the epoch in which it was read: in the new epoch its number
// may belong to another event.
func TestAPollThatAFailoverEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		kept := l.create(ops, "alice", "bob")
		lost := l.post(ops, "bob", "lost")
		n := newNode(t, l)
		answer := n.polling(t, Options{User: "bob", Resume: &lost}, 10, time.Minute)
		l.set(func() { l.events, l.epoch, l.base = l.events[:1], 8, kept.Seq })
		for range 3 {
			l.post(ops, "alice", "in its place")
		}
		if p := <-answer; len(p.Frames) != 0 || p.Cursor != lost.String() {
			t.Errorf("got %d frames and %s, want none and %s", len(p.Frames), p.Cursor, lost)
		}
	})
}

// A client that another server has served beyond this server's position does not go back.
func TestAPollNeverGoesBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		l.create(ops, "alice", "bob")
		n := newNode(t, l)
		l.set(func() { l.blind = true })
		l.post(ops, "alice", "seen elsewhere")
		ahead := l.post(ops, "alice", "this too")
		p, shown := n.poll(t, Options{User: "bob", Resume: &ahead}, 10, 2*time.Second)
		if len(shown) != 0 || p.Cursor != ahead.String() {
			t.Errorf("got %q and %s, want none and %s", shown, p.Cursor, ahead)
		}
		answer := n.polling(t, Options{User: "bob", Resume: &ahead}, 10, time.Minute)
		l.set(func() { l.blind = false })
		next := l.post(ops, "alice", "new")
		if p := <-answer; len(p.Frames) != 1 || p.Cursor != next.String() {
			t.Errorf("got %d frames and %s, want the one at %s", len(p.Frames), p.Cursor, next)
		}
	})
}

func TestDrainAnswersPolls(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		at := l.create(ops, "alice", "bob")
		n := newNode(t, l)
		answer := n.polling(t, Options{User: "bob", Resume: &at}, 10, time.Minute)
		start := time.Now()
		n.Close(t.Context())
		if p := <-answer; len(p.Frames) != 0 || p.Cursor != at.String() || time.Since(start) != 0 {
			t.Errorf("got %d frames and %s after %v, want none and %s at once", len(p.Frames), p.Cursor,
				time.Since(start), at)
		}
		if _, err := n.Poll(t.Context(), Options{User: "bob", Resume: &at}, 10, 0); !errors.Is(err,
			ErrClosed) {
			t.Errorf("got %v, want %v", err, ErrClosed)
		}
	})
}

func TestAPollWhoseClientIsGoneEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		at := l.create(ops, "alice", "bob")
		n := newNode(t, l)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		_, err := n.Poll(ctx, Options{User: "bob", Resume: &at}, 10, time.Minute)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second || n.Streams() != 0 {
			t.Errorf("got %v after %v, and %d streams, want the context's error after 1 s and none", err,
				time.Since(start), n.Streams())
		}
	})
}

// A user with MaxStreams polls, each repeated as soon as it is answered, is never refused.
func TestAnAnsweredPollDoesNotCount(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		from := l.create(ops, "alice", "bob")
		n := newNode(t, l)
		const posts = 40
		var polling sync.WaitGroup
		for range MaxStreams {
			polling.Go(func() {
				at := from
				for got := 0; got < posts; {
					p, err := n.Poll(t.Context(), Options{User: "bob", Resume: &at}, 10, time.Minute)
					if err != nil {
						t.Error(err)
						return
					}
					got += len(p.Frames)
					at, _ = events.ParseCursor(p.Cursor)
				}
			})
		}
		synctest.Wait()
		if _, err := n.Open(t.Context(), Options{User: "bob"}); !errors.Is(err, ErrTooManyStreams) {
			t.Errorf("while they wait: got %v, want %v", err, ErrTooManyStreams)
		}
		for range posts {
			l.post(ops, "alice", "hi")
			time.Sleep(time.Millisecond)
		}
		polling.Wait()
	})
}

// A token that expires while a poll waits ends the poll. The handlers refuse the next one.
func TestAPollEndsWithItsToken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		at := l.create(ops, "alice", "bob")
		n := newNode(t, l)
		start := time.Now()
		p, shown := n.poll(t, Options{User: "bob", Resume: &at, Expires: start.Add(5 * time.Second)},
			10, time.Minute)
		if len(shown) != 0 || p.Cursor != at.String() || time.Since(start) != 5*time.Second {
			t.Errorf("got %q and %s after %v, want none and %s after 5 s", shown, p.Cursor,
				time.Since(start), at)
		}
	})
}

// A client that polls is back soon, and then its channels are known without a query. A user who stays away is
// forgotten.
func TestAPollThatFollowsAnotherCostsNoQuery(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		from := l.create(ops, "alice", "bob")
		n := newNode(t, l)
		asked := func() (n int) { l.set(func() { n = l.asked }); return n }
		at, before := from, 0
		for i := range 20 {
			answer := n.polling(t, Options{User: "bob", Resume: &at}, 10, time.Minute)
			if i == 0 {
				before = asked()
			}
			said := l.post(ops, "alice", "hi")
			if p := <-answer; len(p.Frames) != 1 || p.Cursor != said.String() {
				t.Fatalf("got %d frames and %s, want the message at %s", len(p.Frames), p.Cursor, said)
			}
			at = said
			time.Sleep(idleUser - time.Second)
		}
		if got := asked() - before; got != 0 {
			t.Errorf("got %d queries after the first poll began, want none", got)
		}
		// The user hears what happened meanwhile.
		other := channelNamed(2)
		joined, left := l.create(other, "alice", "bob"), l.leave(ops, "bob")
		l.post(ops, "alice", "not for bob")
		said := l.post(other, "alice", "for bob")
		time.Sleep(500 * time.Millisecond)
		_, shown := n.poll(t, Options{User: "bob", Resume: &at}, 10, 0)
		want := []string{
			"channel.joined " + joined.String(), "channel.left " + left.String(),
			"message.created " + said.String(),
		}
		if diff := cmp.Diff(want, shown); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if got := asked() - before; got != 0 {
			t.Errorf("got %d queries, want none", got)
		}
		time.Sleep(idleUser)
		synctest.Wait()
		n.mu.Lock()
		defer n.mu.Unlock()
		if len(n.users) != 0 || len(n.routes) != 0 {
			t.Errorf("got %d users and %d routes that are still known, want none", len(n.users),
				len(n.routes))
		}
	})
}

// A user who is back in time is not forgotten later.
func TestAUserWhoIsBackIsNotForgotten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		l.create(ops, "alice", "bob")
		n := newNode(t, l)
		n.poll(t, Options{User: "bob"}, 10, 0)
		time.Sleep(idleUser / 2)
		c := n.open(t, Options{User: "bob"})
		c.expect(got{event: "stream.ready"})
		time.Sleep(idleUser)
		c.expect(got{event: "message.created", id: l.post(ops, "alice", "hi").String()})
	})
}

// A failover forgets users without sessions, as it forgets all others.
func TestAFailoverForgetsIdleUsers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		kept := l.create(ops, "alice", "bob")
		l.leave(ops, "bob")
		l.join(ops, "bob")
		n := newNode(t, l)
		n.poll(t, Options{User: "bob"}, 10, 0)
		time.Sleep(time.Second)
		l.set(func() { l.events, l.epoch, l.base = l.events[:1], 8, kept.Seq })
		said := l.post(ops, "alice", "he never left")
		time.Sleep(time.Second)
		c := n.open(t, Options{User: "bob", Resume: &kept})
		c.expect(got{event: "stream.ready"})
		c.expect(got{event: "message.created", id: said.String()})
		c.expect(got{event: "stream.live"})
		time.Sleep(idleUser) // the one who was known before is gone, this one is not
		c.expect(got{event: "channel.joined", id: l.create(channelNamed(2), "bob").String()})
	})
}
