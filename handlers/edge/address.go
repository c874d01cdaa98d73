package edge

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Proxies are the networks of the trusted proxies, whose forwarding headers the server believes. Forwarding
// headers from any other peer are ignored: a client can forge them.
type Proxies []netip.Prefix

// trust reports whether an address belongs to a trusted proxy.
func (p Proxies) trust(a netip.Addr) bool {
	return slices.ContainsFunc(p, func(n netip.Prefix) bool { return n.Contains(a) })
}

// Client returns the address that a request comes from. Without a trusted proxy, that is the peer's address.
// Behind trusted proxies, it is the last address in X-Forwarded-For that is not a trusted proxy's. Addresses
// to the left of that one are ignored: the client may have forged them.
func (p Proxies) Client(r *http.Request) netip.Addr {
	at := parseAddress(r.RemoteAddr)
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		if !p.trust(at) {
			break
		}
		next := parseAddress(strings.TrimSpace(hop))
		if !next.IsValid() {
			break // not an address: the hops to the left of this one cannot be trusted either
		}
		at = next
	}
	return at
}

// Household returns the part of a client's address by which the server distinguishes clients. It returns the
// zero Addr if the address can stand for many clients: for loopback, and for a trusted proxy that names no
// client.
func (p Proxies) Household(r *http.Request) netip.Addr {
	a := p.Client(r)
	if a.IsLoopback() || p.trust(a) {
		return netip.Addr{}
	}
	return householdOf(a)
}

// OverTLS reports whether the client's connection is encrypted: either the connection to this server, or,
// according to a trusted proxy's X-Forwarded-Proto, the connection to that proxy.
func (p Proxies) OverTLS(r *http.Request) bool {
	return r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" && p.trust(parseAddress(r.RemoteAddr))
}

// parseAddress parses an address with or without a port. It returns the zero Addr if s is not an address.
// Zones are dropped, and an IPv4 address in IPv6 form becomes plain IPv4.
func parseAddress(s string) netip.Addr {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone("")
	}
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap().WithZone("")
}

// householdOf returns the address, and for an IPv6 address its /64 network: there, one customer of a network
// has all 2^64 addresses of a /64, and could otherwise avoid the limit.
func householdOf(a netip.Addr) netip.Addr {
	if a.Is4() || !a.IsValid() {
		return a
	}
	return netip.PrefixFrom(a, 64).Masked().Addr()
}
