package center_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"fabric-guild/handlers/center"
	"fabric-guild/handlers/center/centertest"
)

const heartbeat = 15 * time.Second

// A revocation ends a stream within a minute in the worst case. The token is revoked just after another
// caller has cached its answer, at any time between two heartbeats. The next check gets no answer, and the
// check after that gets a late answer.
func TestRevocationEndsAStreamWithinAMinute(t *testing.T) {
	bubble(t, func(t *testing.T, g *guild) {
		for phase := range 30 {
			for _, missed := range []bool{false, true} {
				token := fmt.Sprintf("%d-%v", phase, missed)
				g.SetToken(token, centertest.Token{UserID: "alice"})
				was := g.user(token)
				time.Sleep(time.Minute + time.Duration(phase)*500*time.Millisecond)
				g.user(token)
				revoked := time.Now()
				g.Revoke(token)
				if missed {
					g.Break(sluggish())
				}
				time.Sleep(heartbeat - time.Duration(phase)*500*time.Millisecond)
				for !g.client.Recheck(t.Context(), token, was) {
					time.Sleep(heartbeat)
				}
				if got, want := time.Since(revoked), time.Minute; got > want {
					t.Errorf("phase %d, missed %v: the stream ended after %v, want at most %v", phase,
						missed, got, want)
				}
				g.Mend()
			}
		}
	})
}

// sluggish lets the first call time out, and answers later calls just in time.
func sluggish() centertest.Fault {
	silent := centertest.Once(centertest.Raw("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", true))
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !silent(w, r) {
			return false
		}
		time.Sleep(1900 * time.Millisecond)
		return true
	}
}

// The streams of a token share its answers, and requests use the answers of rechecks too.
func TestRecheckIsShared(t *testing.T) {
	bubble(t, func(t *testing.T, g *guild) {
		g.SetToken("t", centertest.Token{UserID: "alice"})
		was := g.user("t")
		for range 4 {
			time.Sleep(heartbeat)
			for range 16 {
				if g.client.Recheck(t.Context(), "t", was) {
					t.Error("got a revoked stream, want it to stay open")
				}
			}
			g.user("t")
		}
		g.wantCalls(centertest.Introspect, 3) // at the start, after 30 s, after 60 s
		g.Revoke("t")
		time.Sleep(2 * heartbeat)
		if !g.client.Recheck(t.Context(), "t", was) {
			t.Error("the stream stays open, want it revoked")
		}
		g.refused("t", center.ErrInactive)
		g.wantCalls(centertest.Introspect, 4)
	})
}

func TestRecheck(t *testing.T) {
	t.Parallel()
	g1, g2 := []string{"g1"}, []string{"g2", "g1"}
	for name, tt := range map[string]struct {
		was     center.Identity
		is      centertest.Token
		revoked bool
	}{
		"same": {
			center.Identity{UserID: "alice", Guilds: g1},
			centertest.Token{UserID: "alice", Guilds: g1},
			false,
		},
		"another user": {center.Identity{UserID: "alice"}, centertest.Token{UserID: "bob"}, true},
		"fewer guilds": {
			center.Identity{UserID: "alice", Guilds: g2},
			centertest.Token{UserID: "alice", Guilds: g1},
			true,
		},
		"more guilds": {
			center.Identity{UserID: "alice", Guilds: g1},
			centertest.Token{UserID: "alice", Guilds: g2},
			false,
		},
		"all guilds now": {
			center.Identity{UserID: "alice", Guilds: g1},
			centertest.Token{UserID: "alice"},
			false,
		},
		"no longer all guilds": {
			center.Identity{UserID: "alice"},
			centertest.Token{UserID: "alice", Guilds: g2},
			true,
		},
		"no longer any guild": {
			center.Identity{UserID: "alice", Guilds: g1},
			centertest.Token{UserID: "alice", Guilds: []string{}},
			true,
		},
		"past its exp": {
			center.Identity{UserID: "alice"},
			centertest.Token{UserID: "alice", Expires: time.Now()},
			true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := onSocket(t)
			g.SetToken("t", tt.is)
			if got := g.client.Recheck(t.Context(), "t", tt.was); got != tt.revoked {
				t.Errorf("got revoked %v, want %v", got, tt.revoked)
			}
		})
	}
}
