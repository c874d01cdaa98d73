package handlers

import (
	"errors"
	"net/url"
	"testing"

	"fabric-guild/handlers/auth"
	"fabric-guild/handlers/web"
)

// A place in a list that is accepted comes back as it was written. Every other parameter is refused with a problem.
func FuzzListParameters(f *testing.F) {
	for _, seed := range []string{"", "after=a+b%20c", "after=%00", "types=message.created", "types=x", "limit=1&after=a"} {
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
