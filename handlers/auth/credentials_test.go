package auth

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"fabric-guild/handlers/web"
)

// What counts as a token is visible, and in the header.
func FuzzBearer(f *testing.F) {
	for _, seed := range []string{
		"", "Bearer", "Bearer ", "bearer x", "Basic x", "Bearer a b", "Bearer\tx",
		"Bearer  x ", "BEARER \x00",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		token, err := Bearer(&http.Request{Header: http.Header{"Authorization": {header}}})
		if err != nil {
			if p, ok := errors.AsType[*web.Problem](err); !ok || p.Status != http.StatusUnauthorized ||
				token != "" {
				t.Errorf("got %q and error %v, want either", token, err)
			}
			return
		}
		if (token == "") != (header == "") || !strings.Contains(header, token) ||
			strings.TrimSpace(token) != token {
			t.Errorf("got %q of %q", token, header)
		}
	})
}
