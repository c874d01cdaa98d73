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

// A Load has channels, writers that post into the channels, readers that listen, and the results. Alice
// writes all messages. All contents contain Sesame. Only the test's goroutine may call its methods, unless a
// method says otherwise.
type Load struct {
	Channels []string      // ids
	Pause    time.Duration // of a writer before each post; the default of 2 ms leaves CPU time to the readers

	t       testing.TB
	node    *Node  // makes the tokens
	alice   string // alice's token
	stop    func() // closes stopped; may be called several times
	stopped chan struct{}
	writers sync.WaitGroup
	readers []*Reader
	reading sync.WaitGroup
	open    context.Context // of the readers' streams
	hangUp  context.CancelFunc

	mu     sync.Mutex
	posted map[string]string // cursor to content of acknowledged posts
	latest []acknowledged    // last acknowledged post of each writer
	counts Counts
	wrong  int // a status that no post may get, or 0
}

// acknowledged is a post of a writer.
type acknowledged struct {
	began  time.Time
	cursor string
}

// Counts are the numbers of posts by result.
type Counts struct {
	Writers, Acknowledged int
	Refused               int // with 503, or by a proxy; the message may be stored or not
	Failed                int // without an answer
}

// NewLoad makes six channels. Alice writes. bob, carol, dave, erin and more are the other members.
func NewLoad(t testing.TB, n *Node, more ...string) *Load {
	t.Helper()
	l := &Load{
		Pause:   2 * time.Millisecond,
		t:       t,
		node:    n,
		alice:   n.Token("alice"),
		stopped: make(chan struct{}),
		posted:  map[string]string{},
	}
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

// Write starts writers. They post each content once, until StopWriting or the end of the test. Before each
// post, a writer calls base for the URL of the server.
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
				_, cursor, _ := l.post(base(), l.Channels[(i+w)%len(l.Channels)],
					fmt.Sprintf("%d of %d", i, w))
				if cursor != "" {
					l.mu.Lock()
					l.latest[w] = acknowledged{began: began, cursor: cursor}
					l.mu.Unlock()
				}
			}
		})
	}
}

// Counts returns the results of all posts so far. Any goroutine may call it.
func (l *Load) Counts() Counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts
}

// AwaitMore blocks until this number of further posts has been acknowledged.
func (l *Load) AwaitMore(posts int, within time.Duration) {
	l.t.Helper()
	until := l.Counts().Acknowledged + posts
	Eventually(l.t, fmt.Sprintf("%d more posts", posts), within, func() bool {
		return l.Counts().Acknowledged >= until
	})
}

// Recover blocks until the server has recovered, at most for Recovery, and returns how long that took. The
// server has recovered when three conditions hold: it says that it is ready, each writer has begun a new post
// that was acknowledged, and each reader has got those posts.
func (l *Load) Recover(n *Node) time.Duration {
	l.t.Helper()
	began := time.Now()
	Eventually(l.t, "the server has recovered", Recovery, func() bool {
		l.mu.Lock()
		all := slices.Clone(l.latest)
		l.mu.Unlock()
		for _, a := range all {
			if a.began.Before(began) {
				return false
			}
			for _, r := range l.readers {
				if before(r.Record().Cursor, a.cursor) {
					return false
				}
			}
		}
		return n.Readiness() == Ready
	})
	return time.Since(began)
}

// HangUp ends all readers and closes all idle connections.
func (l *Load) HangUp() {
	l.hangUp()
	l.reading.Wait()
	client.CloseIdleConnections()
}

// StopWriting stops the writers and blocks until they have ended.
func (l *Load) StopWriting() {
	l.stop()
	l.writers.Wait()
}

// Finish stops the writers and blocks until every reader has got the last acknowledged message. The test must
// call it only once, and only if a post was acknowledged. The test fails if a post got a wrong status.
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
	l.t.Logf("%+v", l.Counts())
	if l.wrong != 0 {
		l.t.Errorf("got %d for a post, want 201, or 503 while there is no database", l.wrong)
	}
}
