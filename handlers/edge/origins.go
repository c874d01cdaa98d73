package edge

import (
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"fabric-guild/handlers/web"
)

// Secured sets the security headers of every answer. serveFile sets a wider policy for the console and the
// docs.
func Secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		next.ServeHTTP(w, r)
	})
}

// OwnHosts refuses requests whose host is neither a loopback name nor in hosts. This prevents DNS rebinding:
// a hostile site could point its own name at a server on the visitor's machine, and its pages would then have
// the same origin as that server.
func OwnHosts(hosts []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isOwnHost(r.Host, hosts) {
			web.WriteProblem(w, web.NewProblem(http.StatusMisdirectedRequest, "wrong_host",
				"this server does not answer to this host name; to allow the name, start the server with "+
					"-allow-host and the name"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

func isOwnHost(host string, hosts []string) bool {
	if host == "" { // HTTP/1.0 needs no host; a browser always sends one
		return true
	}
	u, err := url.Parse("//" + host)
	if err != nil || u.Host != host {
		return false
	}
	name := u.Hostname()
	// RFC 3986 §3.2.2 requires brackets around an IPv6 address; net/url does not.
	if strings.Contains(name, ":") && !strings.HasPrefix(host, "[") {
		return false
	}
	if a, err := netip.ParseAddr(name); err == nil && a.Unmap().IsLoopback() {
		return true
	}
	// A dot at the end does not change the name (RFC 1034 §3.1).
	if strings.EqualFold(strings.TrimSuffix(name, "."), "localhost") {
		return true
	}
	return slices.ContainsFunc(hosts, func(h string) bool { return strings.EqualFold(h, name) })
}

// The methods and headers that pages of allowed origins may send, the headers that they may read, and how
// many seconds a browser may cache this (Fetch §3.3).
const (
	corsMethods = "GET, HEAD, POST, PUT, PATCH, DELETE"
	corsSend    = "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-Request-Id"
	corsRead    = "X-Request-Id, Retry-After, RateLimit, RateLimit-Policy, Idempotency-Replayed"
	corsMaxAge  = "600"
)

// OfOrigins serves pages of the server's own origin and of the allowed origins, and answers their CORS
// preflights. It refuses what a browser sends for a page of any other origin, except that a user may follow a
// link from any page.
func OfOrigins(allowed []string, next http.Handler) http.Handler {
	check := http.NewCrossOriginProtection()
	for _, origin := range allowed {
		_ = check.AddTrustedOrigin(origin) // a value that is not an origin allows no page
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if foreign(check, r) && !followsLink(r) {
			web.WriteProblem(w, web.NewProblem(http.StatusForbidden, "cross_origin",
				"a page of another origin may not do this; the operator can allow the origin with "+
					"-allow-origin"))
			return
		}
		if len(allowed) > 0 {
			w.Header().Add("Vary", "Origin")
		}
		if slices.Contains(allowed, r.Header.Get("Origin")) && answerCORS(w.Header(), r) {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// foreign reports whether a browser sent a request for a page of an origin that is not allowed.
func foreign(check *http.CrossOriginProtection, r *http.Request) bool {
	if r.Header.Get("Sec-Fetch-Site") == "" && r.Header.Get("Origin") == "" {
		return false // not a browser, or a browser on the server's own page
	}
	change := *r // as a POST: check lets every GET pass
	change.Method = http.MethodPost
	return check.Check(&change) != nil
}

// answerCORS sets the headers by which a page of an allowed origin may read the answer. It reports whether
// the request is a preflight, which needs nothing more than these headers.
func answerCORS(h http.Header, r *http.Request) (preflight bool) {
	h.Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
	h.Set("Access-Control-Allow-Credentials", "true")
	if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
		h.Set("Access-Control-Allow-Methods", corsMethods)
		h.Set("Access-Control-Allow-Headers", corsSend)
		h.Set("Access-Control-Max-Age", corsMaxAge)
		return true
	}
	h.Set("Access-Control-Expose-Headers", corsRead)
	return false
}

// followsLink reports whether a browser loads the answer as a page for its user, outside of any frame.
func followsLink(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) &&
		r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
}
