// Package centertest is a fake Center for tests. It is a real HTTP server. A test sets its tokens, names and
// admin, and can make it fail, hang or redirect. It counts calls.
package centertest

import (
	"context"
	"crypto/rand"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// An Endpoint is an endpoint of Center: its method and path.
type Endpoint string

const (
	Introspect   Endpoint = "POST /api/auth/introspect"
	ResolveNames Endpoint = "POST /api/auth/resolve-names"
	AdminEmail   Endpoint = "GET /api/auth/admin-email"
)

// Endpoints are all endpoints.
var Endpoints = []Endpoint{Introspect, ResolveNames, AdminEmail}

// prefix is the path prefix of the fake Center. So every test checks that the client keeps the prefix of the
// base URL.
const prefix = "/center"

// A Server is a fake Center. It has no clock: a token is active until it is revoked, even after its exp.
type Server struct {
	URL    string // the base URL
	APIKey string // the x-api-key that calls must have

	t      testing.TB
	web    *http.Server
	dial   func(ctx context.Context, network, addr string) (net.Conn, error)
	stop   context.CancelFunc
	served sync.WaitGroup // the goroutine of the listener, and every call
	conns  atomic.Int64

	mu           sync.Mutex
	closed       bool
	tokens       map[string]Token
	names        map[string]string
	admin        *admin
	faults       map[Endpoint]Fault
	calls        map[Endpoint]int
	called       chan struct{} // every call closes and replaces it
	allowBadKeys bool
	badKeys      int
}

// New starts a fake Center on its own socket, and stops it at the end of the test.
func New(t testing.TB) *Server {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, listener, listener.Addr().String(), (&net.Dialer{}).DialContext)
}

// NewInBubble is like New, but without a socket, for a synctest bubble. A client connects with Dial.
func NewInBubble(t testing.TB) *Server {
	t.Helper()
	listener := newPipeListener()
	return serve(t, listener, "center.test", listener.dial)
}

func serve(
	t testing.TB, listener net.Listener, host string,
	dial func(ctx context.Context, network, addr string) (net.Conn, error),
) *Server {
	t.Helper()
	s := &Server{
		URL:    "http://" + host + prefix,
		APIKey: "key-" + rand.Text(),
		t:      t,
		dial:   dial,
		tokens: map[string]Token{},
		names:  map[string]string{},
		faults: map[Endpoint]Fault{},
		calls:  map[Endpoint]int{},
		called: make(chan struct{}),
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.web = &http.Server{
		Handler:     http.HandlerFunc(s.handle),
		ErrorLog:    log.New(io.Discard, "", 0),
		BaseContext: func(net.Listener) context.Context { return ctx },
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				s.conns.Add(1)
			}
		},
	}
	s.served.Go(func() { _ = s.web.Serve(listener) })
	t.Cleanup(s.Close)
	return s
}

// Dial connects to the server. It ignores the address.
func (s *Server) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return s.dial(ctx, network, addr)
}

// Close stops the server and cuts off running calls. It returns when they have ended. Later connections are
// refused. Close may be called more than once.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	_ = s.web.Close()
	s.served.Wait()
}

func (s *Server) handle(w http.ResponseWriter, r *http.Request) {
	if !s.enter() {
		panic(http.ErrAbortHandler) // returning would answer 200
	}
	defer s.served.Done()
	path, below := strings.CutPrefix(r.URL.Path, prefix)
	e := Endpoint(r.Method + " " + path)
	// net/http notices that a client went away only after the whole body was read.
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	answer := s.answers(e)
	if !below || answer == nil || r.URL.RawQuery != "" {
		s.t.Errorf("got %s %s, want one of %s below %s", r.Method, r.URL, Endpoints, prefix)
		http.NotFound(w, r)
		return
	}
	fault := s.count(e)
	if !s.keyIsRight(r) {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if fault != nil && !fault(w, r) {
		return
	}
	answer(w, body)
}

// enter makes Close wait for a call. It returns false if the server is closed already.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.served.Add(1)
	}
	return !s.closed
}
