package handlers

import (
	"net"
	"net/http"
	"net/netip"
)

// Bound bounds the connections of a listener. Those from loopback are bounded like all others: tests come from there.
func Bound(l net.Listener, connections int) *Listener {
	b := newListener(l, connections, nil)
	b.unbounded = nil
	return b
}

// Counted are the connections that are busy, and those that are idle.
func Counted(l *Listener) (busy, idle int) {
	n := l.connections()
	return n.Open - n.Idle, n.Idle
}

// Busy marks a connection as one on which a request is answered.
func Busy(l *Listener, conn net.Conn) { l.state(conn, http.StateActive) }

// Waits reports whether a newcomer waits for a place.
func Waits(l *Listener) bool { return l.waiting.Load() }

// Counts reports whether a connection from an address counts for it.
func Counts(trusted, from string) bool {
	var networks proxies
	if trusted != "" {
		networks = proxies{netip.MustParsePrefix(trusted)}
	}
	return newListener(nil, 1, networks).counted(from).IsValid()
}
