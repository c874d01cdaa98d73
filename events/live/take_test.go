package live

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"fabric-guild/events"
	"fabric-guild/events/ssetest"

	"github.com/google/uuid"
)

// A knowing log knows some of what it has.
type knowing struct{ *memLog }

func (l knowing) Known(after events.Cursor, _ int) events.Tail {
	tail, _ := l.Tail(context.Background(), after, 3)
	tail.Unread = len(tail.Events) == 0
	return tail
}

// The goroutine that hears events publishes them beside the tailer. Each event is published once, in order.
func TestTakeAndTheTailerPublishEachEventOnce(t *testing.T) {
	t.Parallel()
	const posts = 3000
	l := newMemLog()
	n := newNodeOver(t, l, knowing{l})
	channel := uuid.New()
	l.create(channel, "alice")
	stop := make(chan struct{})
	var taking sync.WaitGroup
	for range 2 {
		taking.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					n.tailer.Take()
				}
			}
		})
	}
	var last events.Cursor
	for range posts {
		last = l.post(channel, "alice", "hello")
	}
	ssetest.Eventually(t, "everything is published", func() bool { return n.Position() == last })
	close(stop)
	taking.Wait()
	if got := n.tailer.Events(); got != posts+1 {
		t.Errorf("got %d events published, want %d", got, posts+1)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	found, covered := n.ring.after(0, posts+2)
	if !covered || len(found) != posts+1 {
		t.Fatalf("got %d events in the ring, want %d", len(found), posts+1)
	}
	for i, e := range found {
		if e.Cursor.Seq != int64(i)+1 {
			t.Fatalf("got event %d at place %d", e.Cursor.Seq, i+1)
		}
	}
}

// A half-known log knows the posts, and reads everything else.
type halfKnown struct {
	*memLog
	tails func()
}

func (l halfKnown) Tail(ctx context.Context, at events.Cursor, limit int) (events.Tail, error) {
	l.tails()
	tail, err := l.memLog.Tail(ctx, at, limit)
	tail.Last = at.Seq + int64(len(tail.Events))
	return tail, err
}

func (l halfKnown) Known(after events.Cursor, limit int) events.Tail {
	tail, _ := l.memLog.Tail(context.Background(), after, limit)
	other := slices.IndexFunc(tail.Events,
		func(e *events.Event) bool { return e.Kind != events.MessageCreated })
	if tail.Unread = other >= 0; tail.Unread {
		tail.Events = tail.Events[:other]
	}
	return tail
}

// A read makes the next read wait. It does not make a post wait that needs no read, or somebody who changes
// channels all the time would delay everybody's posts.
func TestAKnownEventDoesNotWaitForTheNextRead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		var tails []time.Time
		n := newNodeOver(t, l, halfKnown{l, func() { tails = append(tails, time.Now()) }})
		channel := uuid.New()
		n.reach(l.create(channel, "alice"))
		posted := time.Now()
		n.reach(l.post(channel, "alice", "hello"))
		if took := time.Since(posted); took > tailPause {
			t.Errorf("a post: published after %v, want it after %v at most", took, tailPause)
		}
		tails = nil
		for range 3 {
			n.reach(l.join(channel, "bob"))
			n.reach(l.leave(channel, "bob"))
		}
		for i := range tails[1:] {
			if pause := tails[i+1].Sub(tails[i]); pause < askPause {
				t.Errorf("got a read %v after the last one, want it after %v", pause, askPause)
			}
		}
	})
}
