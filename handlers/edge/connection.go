package edge

import (
	queue "container/list"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// A connection is one that a Listener has accepted.
type connection struct {
	*net.TCPConn
	of   *Listener
	from netip.Addr // the address whose limit it counts against; the zero Addr: none

	silence silence // only closeLost uses it

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
	delete(l.all, c)
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
