package handlers

import (
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// secured says what a browser may do with any answer: the console widens the policy for its own pages.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		next.ServeHTTP(w, r)
	})
}

// ownHosts answers to loopback's names and to those in hosts only, so that a page cannot have its own name
// lead to a server on its reader's machine and be of the same origin (DNS rebinding).
func ownHosts(hosts []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isOwnHost(r.Host, hosts) {
			writeProblem(w, newProblem(http.StatusMisdirectedRequest, "wrong_host",
				"this server does not answer to this name; to reach it by this name, start it with -allow-host and that name"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

func isOwnHost(host string, hosts []string) bool {
	if host == "" { // HTTP/1.0; a browser names one
		return true
	}
	u, err := url.Parse("//" + host)
	if err != nil || u.Host != host {
		return false
	}
	name := u.Hostname()
	if strings.Contains(name, ":") && !strings.HasPrefix(host, "[") { // RFC 3986 §3.2.2; net/url is more lenient
		return false
	}
	if a, err := netip.ParseAddr(name); err == nil && a.Unmap().IsLoopback() {
		return true
	}
	if strings.EqualFold(strings.TrimSuffix(name, "."), "localhost") { // with a dot it is the same name (RFC 1034 §3.1)
		return true
	}
	return slices.ContainsFunc(hosts, func(h string) bool { return strings.EqualFold(h, name) })
}

// What pages of allowed origins may send, and read of an answer besides its body (Fetch §3.3).
const (
	corsMethods = "GET, HEAD, POST, PUT, PATCH, DELETE"
	corsSend    = "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-Request-Id"
	corsRead    = "X-Request-Id, Retry-After, RateLimit, RateLimit-Policy, Idempotency-Replayed"
	corsMaxAge  = "600"
)

// ofOrigins lets pages of the server's own origin and of the allowed ones in, and refuses what a browser asks
// for in the name of any other. A link leads here from everywhere.
func ofOrigins(allowed []string, next http.Handler) http.Handler {
	check := http.NewCrossOriginProtection()
	for _, origin := range allowed {
		_ = check.AddTrustedOrigin(origin) // what is no origin lets nobody in
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if foreign(check, r) && !followsLink(r) {
			writeProblem(w, newProblem(http.StatusForbidden, "cross_origin", "a page of another origin may not do this; -allow-origin lets it in"))
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

// foreign reports whether a browser sends a request for a page that has no business here.
func foreign(check *http.CrossOriginProtection, r *http.Request) bool {
	if r.Header.Get("Sec-Fetch-Site") == "" && r.Header.Get("Origin") == "" {
		return false // no browser, or one at its own origin
	}
	change := *r // which alone it checks
	change.Method = http.MethodPost
	return check.Check(&change) != nil
}

// answerCORS lets a page of an allowed origin read the answer. It reports whether that was all it asks for.
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

// followsLink reports whether a browser is about to show the answer to its user, in a window of its own.
func followsLink(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) &&
		r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
}
