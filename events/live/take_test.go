package live

import (
	"context"
	"sync"
	"testing"

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
