package guildtest

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// A Load is channels, writers that post into them, readers that listen, and what became of it. All of its
// messages are alice's, and contain Sesame. Its methods are for the test's goroutine.
type Load struct {
	Channels []string      // their ids
	Pause    time.Duration // of a writer before each post; 2 ms leave the machine to the readers, too

	t       testing.TB
	node    *Node  // makes the tokens
	alice   string // her token
	stop    func() // ends stopped, once
	stopped chan struct{}
	writers sync.WaitGroup
	readers []*Reader
	reading sync.WaitGroup
	open    context.Context // of the readers' streams
	hangUp  context.CancelFunc

	mu     sync.Mutex
	posted map[string]string // content by cursor, as acknowledged
	latest []acknowledged    // of each writer
	counts Counts
	wrong  int // a status that no post should get
}

// acknowledged is a writer's post.
type acknowledged struct {
	began  time.Time
	cursor string
}

// Counts are what became of posts.
type Counts struct {
	Writers, Acknowledged int
	Refused               int // with 503, or by a proxy: whether it happened is not known
	Failed                int // without an answer
}

// NewLoad makes six channels of alice, who writes, and bob, carol, dave, erin and more, who listen.
func NewLoad(t testing.TB, n *Node, more ...string) *Load {
	t.Helper()
	l := &Load{Pause: 2 * time.Millisecond, t: t, node: n, alice: n.Token("alice"), stopped: make(chan struct{}), posted: map[string]string{}}
	l.stop = sync.OnceFunc(func() { close(l.stopped) })
	l.open, l.hangUp = context.WithCancel(t.Context())
	t.Cleanup(l.HangUp)
	for i := range 6 {
		var made struct{ Channel struct{ ID string } }
		status, err := Call(t.Context(), http.MethodPost, n.Base()+"/api/channels", l.alice, map[string]any{
			"guildId": "g1", "name": fmt.Sprintf("channel %d", i), "xType": "general",
			"memberUserIds": append([]string{"bob", "carol", "dave", "erin"}, more...),
		}, &made)
		if err != nil || status != http.StatusCreated {
			t.Fatalf("got %d and %v for a channel, want 201", status, err)
		}
		l.Channels = append(l.Channels, made.Channel.ID)
	}
	return l
}

// Write starts writers that post, each content once, until the load is finished or the test ends. Each asks
// base before a post where the server is.
func (l *Load) Write(writers int, base func() string) {
	for range writers {
		l.mu.Lock()
		w := l.counts.Writers
		l.counts.Writers++
		l.latest = append(l.latest, acknowledged{})
		l.mu.Unlock()
		l.writers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-l.stopped:
					return
				case <-l.t.Context().Done():
					return
				case <-time.After(l.Pause):
				}
				began := time.Now()
				_, cursor, _ := l.post(base(), l.Channels[(i+w)%len(l.Channels)], fmt.Sprintf("%d of %d", i, w))
				if cursor != "" {
					l.mu.Lock()
					l.latest[w] = acknowledged{began, cursor}
					l.mu.Unlock()
				}
			}
		})
	}
}

// Counts are those of Write and Post so far.
func (l *Load) Counts() Counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts
}

// AwaitMore waits until so many posts more have been acknowledged.
func (l *Load) AwaitMore(posts int, within time.Duration) {
	l.t.Helper()
	until := l.Counts().Acknowledged + posts
	Eventually(l.t, fmt.Sprintf("%d posts more", posts), within, func() bool { return l.Counts().Acknowledged >= until })
}

// Recover waits until the server is itself again, for Recovery at most, and returns how long that took: it
// says that it is ready, each writer began a post since and had it acknowledged, and each reader heard those.
func (l *Load) Recover(n *Node) time.Duration {
	l.t.Helper()
	began := time.Now()
	Eventually(l.t, "the server is itself again", Recovery, func() bool {
		l.mu.Lock()
		all := slices.Clone(l.latest)
		l.mu.Unlock()
		for _, a := range all {
			if a.began.Before(began) || slices.ContainsFunc(l.readers, func(r *Reader) bool { return before(r.Record().Cursor, a.cursor) }) {
				return false
			}
		}
		return n.Readiness() == Ready
	})
	return time.Since(began)
}

// HangUp ends all readers, and keeps no connection for later.
func (l *Load) HangUp() {
	l.hangUp()
	l.reading.Wait()
	client.CloseIdleConnections()
}

// StopWriting stops the writers.
func (l *Load) StopWriting() {
	l.stop()
	l.writers.Wait()
}

// Finish stops the writers and waits until every reader has seen the last acknowledged message. It is called
// once, after a post was acknowledged. A status that no post should get is an error.
func (l *Load) Finish() {
	l.t.Helper()
	l.StopWriting()
	var last string
	for cursor := range l.posted {
		if before(last, cursor) {
			last = cursor
		}
	}
	for _, r := range l.readers {
		r.Await("message "+last, func(got Record) bool { return !before(got.Cursor, last) })
	}
	if l.t.Logf("%+v", l.Counts()); l.wrong != 0 {
		l.t.Errorf("got %d for a post, want 201, or 503 while there is no database", l.wrong)
	}
}
