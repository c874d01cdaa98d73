package web

import (
	"net/http"
	"strings"
	"testing"
)

// A quality is one, and the media type asked for decides over the ranges that it is in.
func FuzzAccept(f *testing.F) {
	for _, seed := range []string{
		"", "*/*", "application/x-ndjson",
		"text/event-stream, application/x-ndjson;q=0.5", "application/*;q=NaN", "text/event-stream;q=-1",
		"application/x-ndjson;q=2", ";;q", "a/b;q=\"0.3", "TEXT/Event-Stream",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		for _, kind := range []string{"application", "text"} {
			if q := quality(header, kind, "x"); !(q >= 0 && q <= 1) {
				t.Errorf("got %v of %q, want 0 to 1", q, header)
			}
		}
		if PrefersLines(&http.Request{Header: http.Header{"Accept": {header}}}) &&
			!strings.Contains(strings.ToLower(header), "application/") && !strings.Contains(header, "*/*") {
			t.Errorf("got JSON lines for %q, which does not name them", header)
		}
	})
}
