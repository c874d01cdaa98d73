package handlers

import (
	queue "container/list"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fabric-guild/handlers/metrics"
)

const (
	// addressShare is the part of all connections that one address may hold without a stream on them, which is
	// leastOfAddress at least. Streams have a bound of their own.
	addressShare   = 4
	leastOfAddress = 16
	// idleAtLeast is how long a connection must have been idle before a newcomer takes its place. A client whose
	// connection was just accepted has that long to send its request.
	idleAtLeast = time.Second
)

// A Listener bounds how many connections are open at once. When all places are taken, a newcomer gets that of the
// connection which was idle for longest: one that has not sent a whole request yet, or is between two requests. If
// none is idle, newcomers wait.
//
// It also bounds how many connections one address holds: beyond the bound a newcomer gets the place of an idle
// connection of its own address, and if there is none, its requests are refused. Loopback and trusted proxies
// are not bounded in this way, since they connect for many clients.
type Listener struct {
	net.Listener
	most, ofAddress int
	unbounded       proxies
	changed         chan struct{} // a place may be free
	closed          chan struct{}
	once            sync.Once
	evicted         atomic.Int64
	refused         atomic.Int64
	waiting         atomic.Bool // a newcomer, for a place

	mu        sync.Mutex
	open      int
	idle      queue.List // of *connection, the longest idle first
	addresses map[netip.Addr]*address
}

// An address has connections that are not unbounded.
type address struct {
	held int        // connections without a stream
	idle queue.List // of *connection, the longest idle first
}

func newListener(l net.Listener, most int, trusted proxies) *Listener {
	loopback := proxies{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	return &Listener{
		Listener: l, most: most, ofAddress: max(most/addressShare, leastOfAddress), unbounded: append(loopback, trusted...),
		changed: make(chan struct{}, 1), closed: make(chan struct{}), addresses: map[netip.Addr]*address{},
	}
}

// Accept waits for a connection and for a place for it. Unlike those of x/net's LimitListener the connections can do
// all that TCP connections can.
func (l *Listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &connection{TCPConn: conn.(*net.TCPConn), of: l, from: l.counted(conn.RemoteAddr().String())}
	if !l.enter(c) {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	return c, nil
}

// counted is the address that a connection counts for; the zero Addr: none.
func (l *Listener) counted(remote string) netip.Addr {
	a := parseAddress(remote)
	if l.unbounded.trust(a) {
		return netip.Addr{}
	}
	return household(a)
}

// Close may be called more than once.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// enter waits for a place for c. It returns false when the listener is closed.
func (l *Listener) enter(c *connection) bool {
	for {
		wait, entered := l.tryEnter(c)
		if entered {
			return true
		}
		l.waiting.Store(true)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-l.changed:
		case <-l.closed:
			timer.Stop()
			return false
		}
		timer.Stop()
		l.waiting.Store(false)
	}
}

// tryEnter takes a place for c, or returns when to try again at the latest.
func (l *Listener) tryEnter(c *connection) (wait time.Duration, entered bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a := l.addresses[c.from]; a != nil && a.held >= l.ofAddress {
		if own := a.idle.Front(); own != nil {
			l.evictLocked(own.Value.(*connection))
		} else {
			c.beyond = true
		}
	}
	if l.open >= l.most {
		longest := l.idle.Front()
		if longest == nil {
			return time.Minute, false
		}
		victim := longest.Value.(*connection)
		if age := time.Since(victim.idleSince); age < idleAtLeast {
			return idleAtLeast - age, false
		}
		l.evictLocked(victim)
	}
	l.open++
	l.holdLocked(c)
	l.settleLocked(c)
	return 0, true
}

func (l *Listener) evictLocked(c *connection) {
	l.evicted.Add(1)
	l.leaveLocked(c)
	_ = c.TCPConn.Close()
}

// A connection is one that a Listener has accepted.
type connection struct {
	*net.TCPConn
	of   *Listener
	from netip.Addr // the address that it counts for; the zero Addr: none

	// Guarded by of.mu.
	beyond    bool // it was accepted beyond the bound of its address
	left      bool // its place is free again
	busy      bool // the server answers a request on it
	streams   int  // that it carries now
	idleSince time.Time
	idleOfAll *queue.Element // nil: it is not idle
	idleOfOwn *queue.Element // among those of its address
}

// Close may be called more than once.
func (c *connection) Close() error {
	err := c.TCPConn.Close()
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	c.of.leaveLocked(c)
	return err
}

// holdLocked counts c as one that its address holds.
func (l *Listener) holdLocked(c *connection) {
	if !c.from.IsValid() {
		return
	}
	a := l.addresses[c.from]
	if a == nil {
		a = &address{}
		l.addresses[c.from] = a
	}
	a.held++
}

func (l *Listener) releaseLocked(c *connection) {
	if !c.from.IsValid() {
		return
	}
	a := l.addresses[c.from]
	if a.held--; a.held == 0 {
		delete(l.addresses, c.from)
	}
}

// settleLocked puts c among the idle connections or takes it out, as its state is now.
func (l *Listener) settleLocked(c *connection) {
	switch idle := !c.left && !c.busy && c.streams == 0; {
	case idle == (c.idleOfAll != nil):
	case idle:
		c.idleSince = time.Now()
		c.idleOfAll = l.idle.PushBack(c)
		if c.from.IsValid() {
			c.idleOfOwn = l.addresses[c.from].idle.PushBack(c)
		}
		l.change()
	default:
		l.idle.Remove(c.idleOfAll)
		if c.idleOfOwn != nil {
			l.addresses[c.from].idle.Remove(c.idleOfOwn)
		}
		c.idleOfAll, c.idleOfOwn = nil, nil
	}
}

// leaveLocked frees the place of c, once.
func (l *Listener) leaveLocked(c *connection) {
	if c.left {
		return
	}
	c.left = true
	l.settleLocked(c)
	if c.streams == 0 {
		l.releaseLocked(c)
	}
	l.open--
	l.change()
}

func (l *Listener) change() {
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// state is the hook of an http.Server (ConnState). The server calls a connection active when it has read a whole
// head, idle when it has answered, and hijacked when a stream takes it over.
func (l *Listener) state(conn net.Conn, state http.ConnState) {
	c := connectionOf(conn)
	if c == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c.busy = state != http.StateNew && state != http.StateIdle
	l.settleLocked(c)
}

// connectionOf is what a Listener accepted, below TLS; nil for any other connection.
func connectionOf(conn net.Conn) *connection {
	if encrypted, ok := conn.(*tls.Conn); ok {
		conn = encrypted.NetConn()
	}
	c, _ := conn.(*connection)
	return c
}

type connectionKey struct{}

// connContext is the hook of an http.Server by which its requests know their connection.
func connContext(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, connectionOf(conn))
}

// carry notes that the connection of a request carries a stream until done is called: meanwhile it does not count
// for its address. done may be called once.
func carry(ctx context.Context) (done func()) {
	c, _ := ctx.Value(connectionKey{}).(*connection)
	if c == nil {
		return func() {}
	}
	l := c.of
	l.mu.Lock()
	defer l.mu.Unlock()
	c.streams++
	l.settleLocked(c)
	if c.streams == 1 && !c.left {
		l.releaseLocked(c)
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if c.streams--; c.streams == 0 && !c.left {
			l.holdLocked(c)
		}
		l.settleLocked(c) // the server may have called it idle before the stream's end came through
	}
}

// isBeyond reports whether c is one that its address holds beyond its bound, and counts that as a refusal.
func (c *connection) isBeyond() bool {
	l := c.of
	l.mu.Lock()
	defer l.mu.Unlock()
	if !c.beyond || l.addresses[c.from] == nil || l.addresses[c.from].held <= l.ofAddress {
		return false
	}
	l.refused.Add(1)
	return true
}

// connections are counted for metrics.
func (l *Listener) connections() (n metrics.Connections) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return metrics.Connections{
		Open: l.open, Idle: l.idle.Len(), Max: l.most, Evicted: l.evicted.Load(), Refused: l.refused.Load(),
	}
}

// withinAddress refuses requests on connections that an address holds beyond its bound, and closes these. The probe
// of the process is always answered.
func (s *Server) withinAddress(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _ := r.Context().Value(connectionKey{}).(*connection)
		if c == nil || strings.TrimPrefix(r.URL.Path, s.basePath) == "/healthz" || !c.isBeyond() {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Connection", "close")
		p := newProblem(http.StatusTooManyRequests, "too_many_connections",
			"%d connections from your address are busy, and it may have no more; use fewer at a time, "+
				"or have the server trust your proxy (-trusted-proxies)", c.of.ofAddress)
		p.retryAfter = 1
		writeProblem(w, p)
	})
}
