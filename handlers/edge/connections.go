package edge

import (
	queue "container/list"
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
	all       map[*connection]struct{} // those that are open
	idle      queue.List               // of *connection, the longest idle first
	addresses map[netip.Addr]*address
}

// An address holds the connections of one client address that has a connection limit.
type address struct {
	held int        // connections without a stream
	idle queue.List // of *connection, the longest idle first
}

// NewListener limits the connections of l to most, and those of one address to a quarter of that, but at
// least 16. The networks in unbounded do not have the limit for addresses. A goroutine closes the connections
// of lost peers until Close.
func NewListener(l net.Listener, most int, unbounded Proxies) *Listener {
	limited := &Listener{
		Listener: l, most: most, ofAddress: max(most/addressShare, leastOfAddress), unbounded: unbounded,
		changed: make(chan struct{}, 1), closed: make(chan struct{}), addresses: map[netip.Addr]*address{},
		all: map[*connection]struct{}{},
	}
	go limited.closeLost()
	return limited
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
	if len(l.all) >= l.most {
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
	l.all[c] = struct{}{}
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
		Open: len(l.all), Idle: l.idle.Len(), Max: l.most,
		Evicted: l.evicted.Load(), Refused: l.refused.Load(),
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
			"%d connections from your address are busy, which is the limit; use fewer at a time. Behind a "+
				"proxy, the server needs -trusted-proxies", c.of.ofAddress)
		p.RetryAfter = 1
		web.WriteProblem(w, p)
	})
}
