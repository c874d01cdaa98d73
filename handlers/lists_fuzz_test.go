package handlers

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"fabric-guild/db"
	"fabric-guild/handlers/auth"
	"fabric-guild/handlers/web"
)

// A place in a list that is accepted comes back as it was written. Every other parameter is refused with a
// problem.
func FuzzListParameters(f *testing.F) {
	for _, seed := range []string{
		"", "after=a+b%20c", "after=%00", "types=message.created", "types=x",
		"limit=1&after=a",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := url.ParseQuery(raw)
		if err != nil {
			return
		}
		if m, err := rosterPlace(q); err != nil {
			wantRefused(t, err)
		} else if after := q.Get("after"); after != "" && nextInRoster(m) != after {
			t.Errorf("got %q, want %q", nextInRoster(m), after)
		}
		if _, err := filter(q, auth.Identity{}); err != nil {
			wantRefused(t, err)
		}
	})
}

func wantRefused(t *testing.T, err error) {
	t.Helper()
	p, ok := errors.AsType[*web.Problem](err)
	if !ok || p.Status < 400 || p.Status > 499 || p.Code == "" || p.Detail == "" {
		t.Errorf("got error %v, want a problem with a status of 4xx, a code and a detail", err)
	}
}

// A key is accepted whole, and a quoted one is the bare one.
func FuzzIdempotencyKey(f *testing.F) {
	for _, seed := range []string{
		"", "x", `"x"`, `"x`, `x"`, `""`, `"a\"b"`, "é", "a b",
		strings.Repeat("x", 256), "\x7f",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		key := func(header string) (*db.RequestKey, error) {
			r := &http.Request{Header: http.Header{"Idempotency-Key": {header}}}
			r.Method, r.URL = http.MethodPost, &url.URL{Path: "/"}
			return requestKey(r, auth.Identity{UserID: "alice"}, "body")
		}
		got, err := key(header)
		if err != nil {
			wantRefused(t, err)
			return
		}
		if len(got.Key) < 1 || len(got.Key) > 255 || strings.Trim(header, `"`) != got.Key {
			t.Errorf("got %q of %q", got.Key, header)
		}
		for _, again := range []string{got.Key, `"` + got.Key + `"`} {
			if other, err := key(again); err != nil || other.Key != got.Key {
				t.Errorf("%q: got %+v and error %v, want %q as before", again, other, err, got.Key)
			}
		}
	})
}
