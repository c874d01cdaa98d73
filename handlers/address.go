package handlers

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// proxies are the networks whose word counts on whom they forward for. Anybody else's is air: headers are
// easily written.
type proxies []netip.Prefix

func (p proxies) trust(a netip.Addr) bool {
	return slices.ContainsFunc(p, func(n netip.Prefix) bool { return n.Contains(a) })
}

// client is the address that a request comes from: the peer's or, behind trusted proxies, the last one in
// X-Forwarded-For that is none of them. What stands left of it the client may have made up.
func (p proxies) client(r *http.Request) netip.Addr {
	at := parseAddress(r.RemoteAddr)
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		if !p.trust(at) {
			break
		}
		next := parseAddress(strings.TrimSpace(hop))
		if !next.IsValid() {
			break // whoever wrote this, it was not for us
		}
		at = next
	}
	return at
}

// household is the part of a client's address by which clients are told apart; the zero Addr: they are not, for
// loopback and a trusted proxy that names nobody stand for many.
func (s *Server) household(r *http.Request) netip.Addr {
	a := s.proxies.client(r)
	if a.IsLoopback() || s.proxies.trust(a) {
		return netip.Addr{}
	}
	return household(a)
}

// overTLS reports whether the client's connection is encrypted, as far as we or a trusted proxy can tell.
func (p proxies) overTLS(r *http.Request) bool {
	return r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" && p.trust(parseAddress(r.RemoteAddr))
}

// parseAddress takes an address with or without a port; the zero Addr is none.
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
