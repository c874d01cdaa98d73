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

// A guild is a fake Center, a client of it, and the client's log.
type guild struct {
	*centertest.Server
	t      *testing.T
	client *center.Client
	logger *slog.Logger
	logs   *logs
}

// onSocket returns a guild whose client and Center use a real socket.
func onSocket(t *testing.T) *guild {
	t.Helper()
	return join(t, centertest.New(t))
}

// bubble runs a test in a synctest bubble, where time passes only while all goroutines wait.
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
	client, err := center.New(s.URL, s.APIKey, g.logger)
	if err != nil {
		t.Fatal(err)
	}
	g.client = client
	t.Cleanup(g.client.Close)
	return g
}

// admins returns an admin cache that is closed at the end of the test.
func (g *guild) admins() *center.AdminCache {
	c := center.NewAdminCache(g.client, g.logger)
	g.t.Cleanup(c.Close)
	return c
}

// user introspects a token that must be active.
func (g *guild) user(token string) center.Identity {
	g.t.Helper()
	id, err := g.client.Introspect(g.t.Context(), netip.Addr{}, token)
	if err != nil {
		g.t.Fatal(err)
	}
	return id
}

// refused introspects a token and checks that the error is want.
func (g *guild) refused(token string, want error) {
	g.t.Helper()
	if id, err := g.client.Introspect(g.t.Context(), netip.Addr{}, token); !errors.Is(err, want) {
		g.t.Errorf("got %v, %v, want %v", id, err, want)
	}
}

// wantCalls checks how many calls of an endpoint Center has received.
func (g *guild) wantCalls(e centertest.Endpoint, want int) {
	g.t.Helper()
	if got := g.Calls(e); got != want {
		g.t.Errorf("%s: got %d calls, want %d", e, got, want)
	}
}

// logs collects log lines. It is safe for concurrent use.
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

// count returns how often text occurs.
func (l *logs) count(text string) int { return strings.Count(l.String(), text) }
