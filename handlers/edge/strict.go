package edge

import (
	"net/http"
	"strings"

	"fabric-guild/handlers/web"
)

// decisive lists the headers whose value decides something. A request with two different values of one of
// them is refused: a proxy in front of the server might use the other value.
var decisive = []string{
	"Authorization", "Content-Encoding", "Content-Type", "Idempotency-Key", "Last-Event-Id", "Origin",
	"Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site",
}

// Unambiguous refuses requests that a proxy and this server might understand differently.
func Unambiguous(p Proxies, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if problem := p.ambiguous(r); problem != nil {
			web.WriteProblem(w, problem)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// ambiguous returns the problem of a request that can be understood in two ways, or nil.
func (p Proxies) ambiguous(r *http.Request) *web.Problem {
	for _, name := range decisive {
		if differ(r.Header[name]) {
			return web.Malformed(web.FieldError{
				Field: name, Detail: "came more than once, with different values; send it once",
			})
		}
	}
	const forwarded = "X-Forwarded-Proto"
	if differ(r.Header[forwarded]) && p.trust(parseAddress(r.RemoteAddr)) {
		return web.Malformed(web.FieldError{
			Field: forwarded, Detail: "came more than once, with different values; have the proxy replace it",
		})
	}
	if hidden(r.URL.RawPath) {
		return web.NewProblem(http.StatusBadRequest, "malformed",
			"the path has letters, digits, slashes or - . _ ~ in percent-encoded form, which can deceive a "+
				"proxy; write them as they are")
	}
	return nil
}

// differ reports whether the values of a header are not all equal.
func differ(values []string) bool {
	for i := 1; i < len(values); i++ {
		if values[i] != values[0] {
			return true
		}
	}
	return false
}

// hidden reports whether a path has a percent-encoded slash, backslash or unreserved character (RFC 3986
// §2.3). The fixed parts of all our paths consist of unreserved characters, so a client never needs to
// encode them. An encoded one may hide a path from the rules of a proxy.
func hidden(rawPath string) bool {
	for rest := rawPath; ; {
		_, after, found := strings.Cut(rest, "%")
		if !found || len(after) < 2 {
			return false
		}
		c := unhex(after[0])<<4 | unhex(after[1])
		if c == '/' || c == '\\' || strings.IndexByte("-._~", c) >= 0 ||
			'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' {
			return true
		}
		rest = after[2:]
	}
}

// unhex returns the value of a hexadecimal digit. net/url has checked that c is one.
func unhex(c byte) byte {
	switch {
	case c >= 'a':
		return c - 'a' + 10
	case c >= 'A':
		return c - 'A' + 10
	}
	return c - '0'
}
