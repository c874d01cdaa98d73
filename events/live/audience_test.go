package live

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fabric-guild/events"
	"fabric-guild/events/ssetest"
)

// mark is once in each message, and nowhere else on a stream. So a reader counts messages by counting marks.
const mark = "~"

// An audience is one channel whose members listen over real sockets. There is no tailer: the test publishes.
// The readers of the sockets allocate nothing.
type audience struct {
	*Router
	log     *memLog
	addr    string
	due     atomic.Int64 // messages that are still to be read
	arrived chan struct{}
	asks    atomic.Bool // streams that connect ask for activity
}

// gather creates a channel of members, and starts to serve.
func gather(t testing.TB, members int, serve func(http.ResponseWriter, *http.Request, *Session)) *audience {
	t.Helper()
	a := &audience{log: newMemLog(), arrived: make(chan struct{}, 1)}
	names := []string{"author"}
	for i := range members {
		names = append(names, fmt.Sprint("u", i))
	}
	a.Router = NewRouter(a.log, a.log.create(ops, names...))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a.addr = listener.Addr().String()
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		opts := Options{User: strings.TrimPrefix(r.URL.Path, "/"), Activity: a.asks.Load()}
		if at, err := events.ParseCursor(r.Header.Get("Last-Event-ID")); err == nil {
			opts.Resume = &at
		}
		s, err := a.Open(r.Context(), opts)
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		serve(w, r, s)
	})}
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), ssetest.Patience)
		defer cancel()
		a.Router.Close(ctx)
		_ = server.Close()
		wg.Wait()
	})
	return a
}

// listen opens the stream of each member, and waits until all are live.
func (a *audience) listen(t testing.TB, members int) {
	t.Helper()
	for i := range members {
		a.connect(t, fmt.Sprint("u", i), "")
	}
	a.await(t, "all streams to be live", func() bool { return a.live() == members })
}

func (a *audience) await(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(ssetest.Patience); !condition(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("timed out waiting for ", what)
		}
	}
}

func (a *audience) live() (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, u := range a.users {
		n += len(u.live)
	}
	return n
}

// connect opens a stream, and reads it until the stream or the test ends.
func (a *audience) connect(t testing.TB, user, lastEventID string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", a.addr)
	if err != nil {
		t.Fatal(err)
	}
	if lastEventID != "" {
		lastEventID = "Last-Event-ID: " + lastEventID + "\r\n"
	}
	if _, err := fmt.Fprintf(conn, "GET /%s HTTP/1.1\r\nHost: guild\r\n%s\r\n", user,
		lastEventID); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { a.read(conn) })
	t.Cleanup(func() {
		_ = conn.Close()
		wg.Wait()
	})
	return conn
}

func (a *audience) read(conn net.Conn) {
	b := make([]byte, 64<<10)
	for {
		n, err := conn.Read(b)
		if err != nil {
			return
		}
		if n := int64(bytes.Count(b[:n], []byte(mark))); n > 0 && a.due.Add(-n) == 0 {
			a.arrived <- struct{}{}
		}
	}
}

// next returns a message that is in the event log, and not yet published.
func (a *audience) next() *events.Event {
	a.log.post(ops, "author", mark+strings.Repeat("twenty-one characters", 10))
	return a.log.events[len(a.log.events)-1]
}

// hear publishes a message, and waits until all members have read it.
func (a *audience) hear(t testing.TB, e *events.Event, members int) {
	t.Helper()
	a.due.Store(int64(members))
	a.publish(e)
	a.all(t)
}

// all waits until nothing is due any more.
func (a *audience) all(t testing.TB) {
	t.Helper()
	select {
	case <-a.arrived:
	case <-time.After(ssetest.Patience):
		t.Fatalf("%d messages do not arrive", a.due.Load())
	}
}
