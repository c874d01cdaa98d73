package center_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"fabric-guild/handlers/center"
	"fabric-guild/handlers/center/centertest"
)

// A guild is a Center, a client of it, and what was logged.
type guild struct {
	*centertest.Server
	t      *testing.T
	client *center.Client
	logger *slog.Logger
	logs   *logs
}

// onSocket has a client and a Center speak over a real socket.
func onSocket(t *testing.T) *guild {
	t.Helper()
	return join(t, centertest.New(t))
}

// bubble runs a test whose clock moves only when everyone waits.
func bubble(t *testing.T, test func(t *testing.T, g *guild)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { test(t, inBubble(t)) })
}

func inBubble(t *testing.T) *guild {
	t.Helper()
	g := join(t, centertest.NewInBubble(t))
	g.client.DialBy(g.Dial)
	return g
}

func join(t *testing.T, s *centertest.Server) *guild {
	t.Helper()
	g := &guild{Server: s, t: t, logs: &logs{}}
	g.logger = slog.New(slog.NewTextHandler(g.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	if g.client, err = center.New(s.URL, s.APIKey, g.logger); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.client.Close)
	return g
}

// admins is an admin cache that the test's end closes.
func (g *guild) admins() *center.AdminCache {
	c := center.NewAdminCache(g.client, g.logger)
	g.t.Cleanup(c.Close)
	return c
}

// user introspects a token that has to be active.
func (g *guild) user(token string) center.Identity {
	g.t.Helper()
	id, err := g.client.Introspect(g.t.Context(), netip.Addr{}, token)
	if err != nil {
		g.t.Fatal(err)
	}
	return id
}

// refused introspects a token that has to end with an error.
func (g *guild) refused(token string, want error) {
	g.t.Helper()
	if id, err := g.client.Introspect(g.t.Context(), netip.Addr{}, token); !errors.Is(err, want) {
		g.t.Errorf("got %v, %v, want %v", id, err, want)
	}
}

// wantCalls checks how many calls have come in.
func (g *guild) wantCalls(e centertest.Endpoint, want int) {
	g.t.Helper()
	if got := g.Calls(e); got != want {
		g.t.Errorf("%s: got %d calls, want %d", e, got, want)
	}
}

// logs collects lines of a log.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// count is how many lines hold text.
func (l *logs) count(text string) int { return strings.Count(l.String(), text) }
