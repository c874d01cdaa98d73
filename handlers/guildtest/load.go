package guildtest

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// A Load is channels, writers that post into them, readers that listen, and what became of it. All of its
// messages are alice's, and contain Sesame. Its methods are for the test's goroutine.
type Load struct {
	Channels []string // their ids

	t       testing.TB
	node    *Node  // makes the tokens
	alice   string // her token
	stop    chan struct{}
	writers sync.WaitGroup
	readers []*Reader

	mu     sync.Mutex
	posted map[string]string // content by cursor, as acknowledged
	counts Counts
	wrong  int // a status that no post should get
}

// Counts are what became of posts.
type Counts struct {
	Writers, Acknowledged int
	Refused               int // with 503, or by a proxy: whether it happened is not known
	Failed                int // without an answer
}

// NewLoad makes six channels of alice, who writes, and others, who listen.
func NewLoad(t testing.TB, n *Node) *Load {
	t.Helper()
	l := &Load{t: t, node: n, alice: n.Token("alice"), stop: make(chan struct{}), posted: map[string]string{}}
	for i := range 6 {
		var made struct{ Channel struct{ ID string } }
		status, err := Call(t.Context(), http.MethodPost, n.Base()+"/api/channels", l.alice, map[string]any{
			"guildId": "g1", "name": fmt.Sprintf("channel %d", i), "xType": "general",
			"memberUserIds": []string{"bob", "carol", "dave", "erin"},
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
		l.counts.Writers++
		w := l.counts.Writers
		l.mu.Unlock()
		l.writers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-l.stop:
					return
				case <-l.t.Context().Done():
					return
				case <-time.After(2 * time.Millisecond): // leaves the machine to the readers, too
				}
				_, _ = l.Post(base(), l.Channels[(i+w)%len(l.Channels)], fmt.Sprintf("%d of %d", i, w))
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

// Finish stops the writers and waits until every reader has seen the last acknowledged message. It is called
// once, after a post was acknowledged. A status that no post should get is an error.
func (l *Load) Finish() {
	l.t.Helper()
	close(l.stop)
	l.writers.Wait()
	last := slices.MaxFunc(slices.Collect(maps.Keys(l.posted)), func(a, b string) int { return seq(a) - seq(b) })
	for _, r := range l.readers {
		r.Await("message "+last, func(got Record) bool { return seq(got.Cursor) >= seq(last) })
	}
	if l.t.Logf("%+v", l.Counts()); l.wrong != 0 {
		l.t.Errorf("got %d for a post, want 201, or 503 while there is no database", l.wrong)
	}
}
