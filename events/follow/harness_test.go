package follow_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"fabric-guild/events/follow"
	"fabric-guild/events/remote"
)

// A server gives the next of its answers to each request. It works inside a synctest bubble, over pipes. A
// bubble ends only after all its goroutines have ended, so a test also shows that no connection is left.
type server struct {
	conns chan net.Conn
	done  chan struct{}

	mu       sync.Mutex
	requests []*http.Request
}

// serve starts a server with these answers, and returns the server and a client of it. The test fails if
// there are more requests than answers.
func serve(t *testing.T, answers ...http.HandlerFunc) (*server, *follow.Client) {
	t.Helper()
	s := &server{conns: make(chan net.Conn), done: make(chan struct{})}
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests = append(s.requests, r)
		n := len(s.requests)
		s.mu.Unlock()
		if n > len(answers) {
			t.Errorf("got request number %d, want only %d requests", n, len(answers))
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		answers[n-1](w, r)
	})}
	go func() { _ = web.Serve(s) }()
	transport := remote.NewTransport()
	transport.Proxy = nil
	transport.DialContext = s.dial
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		_ = web.Close()
	})
	return s, &follow.Client{
		URL:       "http://guild.example",
		Transport: transport,
		Token:     func() (string, error) { return "secret", nil },
	}
}

func (s *server) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case s.conns <- theirs:
		return ours, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.done:
		return nil, errors.New("refused")
	}
}

// Accept, Close and Addr make a server a net.Listener.
func (s *server) Accept() (net.Conn, error) {
	select {
	case c := <-s.conns:
		return c, nil
	case <-s.done:
		return nil, net.ErrClosed
	}
}

func (s *server) Close() error   { close(s.done); return nil }
func (s *server) Addr() net.Addr { return &net.TCPAddr{} }

// asked returns the cursor of each request. If header and parameter differ, it returns both.
func (s *server) asked() (cursors []string) {
	for _, r := range s.requests {
		cursor := r.Header.Get("Last-Event-ID")
		if p := r.URL.Query().Get("lastEventId"); p != cursor {
			cursor += " and " + p
		}
		cursors = append(cursors, cursor)
	}
	return cursors
}

const preamble = ": ok\nretry: 2000\n\n"

func ready(cursor string) string {
	return frame("stream.ready", `{"cursor":"`+cursor+`","userId":"bob","resumed":false,"channels":[]}`,
		cursor)
}

func resumed(cursor string) string {
	return frame("stream.ready", `{"cursor":"`+cursor+`","userId":"bob","resumed":true}`, cursor)
}

func live(cursor string) string { return frame("stream.live", `{"cursor":"`+cursor+`"}`, cursor) }

func message(cursor string) string {
	return frame("message.created", `{"content":"`+cursor+`"}`, cursor)
}

func frame(event, data, id string) string {
	if id != "" {
		id = "id: " + id + "\n"
	}
	return "event: " + event + "\ndata: " + data + "\n" + id + "\n"
}

// stream answers with a stream of these frames, and ends it properly.
func stream(frames ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		_, _ = io.WriteString(w, strings.Join(frames, ""))
		_ = http.NewResponseController(w).Flush()
	}
}

// broken is like stream, but cuts the connection at the end.
func broken(frames ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		stream(frames...)(w, r)
		panic(http.ErrAbortHandler)
	}
}

// held is like stream, but keeps the stream open until the client closes it.
func held(frames ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		stream(frames...)(w, r)
		<-r.Context().Done()
	}
}

// refused answers with a problem. header is pairs of names and values.
func refused(status int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `{"status":%d,"code":"of_the_test","detail":"do \u001b[2J not"}`, status)
	}
}

var errLast = errors.New("the last event has come")

// collect follows the stream until it has handled the event with the id last. It returns the ids of all
// events of the event log.
func collect(t *testing.T, c *follow.Client, cursor, last string) (ids []string) {
	t.Helper()
	err := c.Follow(t.Context(), cursor, func(e follow.Event) error {
		if strings.HasPrefix(e.Name, "stream.") {
			return nil
		}
		if !strings.Contains(string(e.Data), e.ID) {
			t.Errorf("got the data %s with the id %s, want each event with its own id", e.Data, e.ID)
		}
		ids = append(ids, e.ID)
		if e.ID == last {
			return errLast
		}
		return nil
	})
	if !errors.Is(err, errLast) {
		t.Errorf("got %v, want the event %s", err, last)
	}
	return ids
}

// inBubble runs a test in a synctest bubble, which has its own clock.
func inBubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, test)
}
