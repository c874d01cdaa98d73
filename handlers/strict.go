package handlers

import (
	"net/http"
	"strings"
	"unicode"
)

// decisive are the headers of which one value decides something. Two different ones are refused: whoever stands between
// client and server may go by the other one.
var decisive = []string{
	"Authorization", "Content-Encoding", "Content-Type", "Idempotency-Key", "Last-Event-Id", "Origin",
	"Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site",
}

// strict refuses requests that two readers may understand in two ways.
func (s *Server) strict(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p := s.ambiguous(r); p != nil {
			writeProblem(w, p)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) ambiguous(r *http.Request) *problem {
	for _, name := range decisive {
		if differ(r.Header[name]) {
			return malformed(fieldError{name, "came more than once, with different values; send it once"})
		}
	}
	const forwarded = "X-Forwarded-Proto"
	if differ(r.Header[forwarded]) && s.proxies.trust(parseAddress(r.RemoteAddr)) {
		return malformed(fieldError{forwarded, "came more than once, with different values; have the proxy replace it"})
	}
	if hidden(r.URL.RawPath) {
		return newProblem(http.StatusBadRequest, "malformed",
			"write letters, digits, slashes and - . _ ~ of the path as they are: a proxy's rules go by what is written")
	}
	return nil
}

// differ reports whether values of a header are not all the same.
func differ(values []string) bool {
	for i := 1; i < len(values); i++ {
		if values[i] != values[0] {
			return true
		}
	}
	return false
}

// hidden reports whether a path has percent-encoded what no path of ours needs encoded: a slash, or an unreserved
// character (RFC 3986 §2.3), of which all fixed parts of our paths consist.
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

// unhex is the value of a digit, which net/url has checked.
func unhex(c byte) byte {
	switch {
	case c >= 'a':
		return c - 'a' + 10
	case c >= 'A':
		return c - 'A' + 10
	}
	return c - '0'
}

// readable reports whether a name shows something, and neither hides nor turns what stands beside it: a control
// character, the end of a line, or one that sets the direction of text (Unicode, Bidi_Control). Joiners and variation
// selectors, which emoji and some scripts need, may be in it.
func readable(name string) bool {
	shows := false
	for _, c := range name {
		if unicode.IsControl(c) || unicode.Is(unicode.Bidi_Control, c) || unicode.In(c, unicode.Zl, unicode.Zp) {
			return false
		}
		shows = shows || showsItself(c)
	}
	return shows
}

// showsItself reports whether a character shows by itself. Letters without a shape (the Hangul fillers) and the empty
// pattern of braille do not.
func showsItself(c rune) bool {
	const emptyBraille = '\u2800'
	blank := unicode.In(c, unicode.Zs, unicode.Mn, unicode.Me, unicode.Other_Default_Ignorable_Code_Point)
	return unicode.IsGraphic(c) && !blank && c != emptyBraille
}
