package edge

import (
	queue "container/list"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"fabric-guild/handlers/web"
)

const (
	// One address may hold 1/addressShare of all connections, but at least leastOfAddress. Connections that
	// carry a stream do not count, because streams have their own limit.
	addressShare   = 4
	leastOfAddress = 16
	// idleAtLeast is how long a connection must have been idle before a new connection may take its place. So
	// a client has that much time to send its request after its connection was accepted.
	idleAtLeast = time.Second
)

// A Listener limits how many connections are open at once. When all places are taken, a new connection evicts
// the connection that has been idle for longest. A connection is idle if it has not sent a whole request head
// yet, or is between two requests. If no connection is idle, new connections wait.
//
// A Listener also limits how many connections one address holds. Over that limit, a new connection evicts an
// idle connection of its own address. If there is none, the new connection is accepted but its requests are
// refused. Networks that connect for many clients can be exempt from the limit for addresses.
type Listener struct {
	net.Listener
	most, ofAddress int
	unbounded       Proxies
	changed         chan struct{} // signals that a place may be free
	closed          chan struct{}
	once            sync.Once
	evicted         atomic.Int64
	refused         atomic.Int64
	waiting         atomic.Bool // a new connection waits for a place

	mu        sync.Mutex
	open      int
	idle      queue.List // of *connection, the longest idle first
	addresses map[netip.Addr]*address
}

// An address holds the connections of one client address that has a connection limit.
type address struct {
	held int        // connections without a stream
	idle queue.List // of *connection, the longest idle first
}

// NewListener limits the connections of l to most, and those of one address to a quarter of that, but at
// least 16. The networks in unbounded do not have the limit for addresses.
func NewListener(l net.Listener, most int, unbounded Proxies) *Listener {
	return &Listener{
		Listener: l, most: most, ofAddress: max(most/addressShare, leastOfAddress), unbounded: unbounded,
		changed: make(chan struct{}, 1), closed: make(chan struct{}), addresses: map[netip.Addr]*address{},
	}
}

// Accept waits for a connection, and then for a place for that connection. It returns net.ErrClosed if the
// Listener is closed during the wait for a place. A connection has all methods of a *net.TCPConn, unlike the
// connections of x/net's LimitListener.
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

// counted returns the address whose limit a connection counts against. The zero Addr means that the
// connection counts against no such limit.
func (l *Listener) counted(remote string) netip.Addr {
	a := parseAddress(remote)
	if l.unbounded.trust(a) {
		return netip.Addr{}
	}
	return householdOf(a)
}

// Close closes the listening socket and ends every wait in Accept. Open connections stay open. Close may be
// called more than once.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// enter waits until c has a place. It returns false if the listener is closed first.
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

// tryEnter takes a place for c if it can. Otherwise it returns false and the longest time after which the
// caller must try again.
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

// evictLocked frees the place of an idle connection and closes the connection.
func (l *Listener) evictLocked(c *connection) {
	l.evicted.Add(1)
	l.leaveLocked(c)
	_ = c.TCPConn.Close()
}

// A connection is one that a Listener has accepted.
type connection struct {
	*net.TCPConn
	of   *Listener
	from netip.Addr // the address whose limit it counts against; the zero Addr: none

	// Guarded by of.mu.
	beyond    bool // it was accepted over the limit of its address
	left      bool // its place is free again
	busy      bool // the server is answering a request on it
	streams   int  // how many streams it carries now
	idleSince time.Time
	idleOfAll *queue.Element // in Listener.idle; nil: it is not idle
	idleOfOwn *queue.Element // in address.idle
}

// Close closes the connection and frees its place. Close may be called more than once.
func (c *connection) Close() error {
	err := c.TCPConn.Close()
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	c.of.leaveLocked(c)
	return err
}

// holdLocked counts c as a connection that its address holds. releaseLocked must undo that later.
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

// releaseLocked stops counting c for its address, and forgets an address that holds no more connections.
func (l *Listener) releaseLocked(c *connection) {
	if !c.from.IsValid() {
		return
	}
	a := l.addresses[c.from]
	if a.held--; a.held == 0 {
		delete(l.addresses, c.from)
	}
}

// settleLocked adds c to the lists of idle connections, or removes c from them, according to its state now.
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

// leaveLocked frees the place of c. Further calls for the same connection do nothing.
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

// change wakes an Accept that waits for a place. change never blocks.
func (l *Listener) change() {
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// state is the ConnState hook of an http.Server. The server reports a connection as active when it has read a
// whole request head, as idle when it has answered, and as hijacked when a stream takes the connection over.
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

// connectionOf returns the connection that a Listener accepted, without the TLS layer around it. It returns
// nil for a connection that did not come from a Listener.
func connectionOf(conn net.Conn) *connection {
	if encrypted, ok := conn.(*tls.Conn); ok {
		conn = encrypted.NetConn()
	}
	c, _ := conn.(*connection)
	return c
}

type connectionKey struct{}

// connContext is the ConnContext hook of an http.Server. It puts the connection into the context of every
// request.
func connContext(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, connectionOf(conn))
}

// CarryStream records that the connection of a request carries a stream until done is called. A connection
// that carries a stream does not count against the limit of its address. done must be called at most once.
func CarryStream(ctx context.Context) (done func()) {
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
		l.settleLocked(c) // the server may have reported the connection as idle before done was called
	}
}

// isBeyond reports whether c was accepted over the limit of its address and the address is still over its
// limit. If so, isBeyond counts a refusal.
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

// Connections counts the connections of clients to the server, and the cases in which a limit applied.
type Connections struct {
	Open, Idle, Max int
	// Evicted counts idle connections that the server closed to make room for new ones. Refused counts
	// requests that the limit of an address refused.
	Evicted, Refused int64
}

// Connections returns the counts.
func (l *Listener) Connections() Connections {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Connections{
		Open: l.open, Idle: l.idle.Len(), Max: l.most, Evicted: l.evicted.Load(), Refused: l.refused.Load(),
	}
}

// WithinAddress refuses requests on connections over the limit of their address, and closes these
// connections. It always lets requests through for which exempt returns true.
func WithinAddress(exempt func(*http.Request) bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _ := r.Context().Value(connectionKey{}).(*connection)
		if c == nil || exempt(r) || !c.isBeyond() {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Connection", "close")
		p := web.NewProblem(http.StatusTooManyRequests, "too_many_connections",
			"%d connections from your address are busy, and it may have no more; use fewer at a time, "+
				"or have the server trust your proxy (-trusted-proxies)", c.of.ofAddress)
		p.RetryAfter = 1
		web.WriteProblem(w, p)
	})
}
