package center_test

import (
	"errors"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"fabric-guild/handlers/center"
	"fabric-guild/handlers/center/centertest"
)

func TestNew(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		url, key string
		ok       bool
	}{
		{"http://center", "k", true},
		{"https://center:8443/prefix/", "k", true},
		{"HTTP://[::1]:80", "k", true},
		{"", "k", false},
		{"center", "k", false},
		{"center:80", "k", false},
		{"ftp://center", "k", false},
		{"unix:///run/center", "k", false},
		{"http://", "k", false},
		{"http://:80", "k", false},
		{"http://hunter2@center", "k", false},
		{"http://user:hunter2@center:port", "k", false},
		{"http://center?key=hunter2", "k", false},
		{"http://center?", "k", false},
		{"http://center#hunter2", "k", false},
		{"http://center", "", false},
		{"http://center", "hunter2\n", false},
		{"http://center", "hunter2 ", false},
		{"http://center", "hunter2é", false},
	} {
		c, err := center.New(tt.url, tt.key, slog.New(slog.DiscardHandler))
		if (err == nil) != tt.ok {
			t.Errorf("%q, %q: got %v, want ok %v", tt.url, tt.key, err, tt.ok)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q, %q: error %v contains a secret", tt.url, tt.key, err)
		}
		if c != nil {
			c.Close()
			c.Close()
		}
	}
}

// The fake Center has a path prefix. Calls arrive there whether or not the base URL ends with a slash.
func TestPrefixIsKept(t *testing.T) {
	t.Parallel()
	g := onSocket(t)
	g.SetToken("t", centertest.Token{UserID: "alice"})
	c, err := center.New(g.URL+"/", g.APIKey, g.logger)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	for _, c := range []*center.Client{g.client, c} {
		if _, err := c.Introspect(t.Context(), netip.Addr{}, "t"); err != nil {
			t.Error(err)
		}
	}
	g.wantCalls(centertest.Introspect, 2)
}

func TestConnectionIsReused(t *testing.T) {
	t.Parallel()
	g := onSocket(t)
	for _, token := range []string{"a", "b", "c"} {
		g.refused(token, center.ErrInactive)
		g.client.ResolveNames(t.Context(), []string{token})
	}
	g.Break(centertest.Status(500))
	g.refused("d", center.ErrUnavailable)
	g.refused("e", center.ErrUnavailable)
	if got, want := g.Conns(), 1; got != want {
		t.Errorf("got %d connections, want %d", got, want)
	}
}

// If Center closes an idle connection just when a call is sent on it, the call is repeated.
func TestClosedConnectionIsNoFailure(t *testing.T) {
	t.Parallel()
	g := onSocket(t)
	g.SetToken("t", centertest.Token{UserID: "alice"})
	g.SetNames(map[string]string{"Bob": "bob"})
	g.refused("unknown", center.ErrInactive) // makes the connection
	g.Break(centertest.Once(centertest.Raw("", false)), centertest.Introspect)
	g.user("t")
	g.wantCalls(centertest.Introspect, 3)
	g.Break(centertest.Once(centertest.Raw("", false)), centertest.ResolveNames)
	if got := g.client.ResolveNames(t.Context(), []string{"Bob"}); got["Bob"] != "bob" {
		t.Errorf("got %v, want Bob", got)
	}
}

// If the certificate of Center is not trusted, nothing is sent, and the error names the reason.
func TestUnknownCertificate(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("got a call, want none")
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	// The handshake has two seconds, which may be too few on a busy machine.
	for range 20 {
		c, err := center.New(s.URL, "key", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		_, err = c.Introspect(t.Context(), netip.Addr{}, "t")
		if !errors.Is(err, center.ErrUnavailable) {
			t.Fatalf("got %v, want %v", err, center.ErrUnavailable)
		}
		if strings.Contains(err.Error(), "certificate") {
			return
		}
		t.Log(err)
	}
	t.Error("got no error that names the certificate")
}

func TestWrongKey(t *testing.T) {
	t.Parallel()
	g := onSocket(t)
	g.AllowBadKeys()
	g.SetToken("t", centertest.Token{UserID: "alice"})
	c, err := center.New(g.URL, "another", g.logger)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if _, err := c.Introspect(t.Context(), netip.Addr{}, "t"); !errors.Is(err, center.ErrUnavailable) {
		t.Errorf("got %v, want %v", err, center.ErrUnavailable)
	}
	if got, want := g.BadKeys(), 1; got != want {
		t.Errorf("got %d calls with a wrong key, want %d", got, want)
	}
}
