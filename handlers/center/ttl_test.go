package center_test

import (
	"testing"
	"time"

	"fabric-guild/handlers/center"
	"fabric-guild/handlers/center/centertest"
)

func TestActiveIsCachedForAMinute(t *testing.T) {
	bubble(t, func(_ *testing.T, g *guild) {
		g.SetToken("t", centertest.Token{UserID: "alice", Expires: time.Now().Add(time.Hour)})
		g.user("t")
		g.Revoke("t")
		time.Sleep(time.Minute - 1)
		g.user("t")
		g.wantCalls(centertest.Introspect, 1)
		time.Sleep(time.Nanosecond)
		g.refused("t", center.ErrInactive)
		g.wantCalls(centertest.Introspect, 2)
	})
}

// The minute counts from the question, because the token may have been revoked before the answer arrived.
func TestAgeCountsFromTheQuestion(t *testing.T) {
	bubble(t, func(_ *testing.T, g *guild) {
		g.SetToken("t", centertest.Token{UserID: "alice"})
		release := g.Hang()
		time.AfterFunc(1500*time.Millisecond, release)
		g.user("t")
		time.Sleep(time.Minute - 1501*time.Millisecond)
		g.user("t")
		g.wantCalls(centertest.Introspect, 1)
		time.Sleep(time.Millisecond)
		g.user("t")
		g.wantCalls(centertest.Introspect, 2)
	})
}

func TestActiveIsCachedUpToExp(t *testing.T) {
	bubble(t, func(_ *testing.T, g *guild) {
		g.SetToken("t", centertest.Token{UserID: "alice", Expires: time.Now().Add(10 * time.Second)})
		g.user("t")
		time.Sleep(10*time.Second - 1)
		g.user("t")
		g.wantCalls(centertest.Introspect, 1)
		time.Sleep(time.Nanosecond)
		g.refused("t", center.ErrInactive) // although Center still says active
		g.wantCalls(centertest.Introspect, 2)
		g.refused("t", center.ErrInactive)
		g.wantCalls(centertest.Introspect, 2)
		g.SetToken("t", centertest.Token{UserID: "alice", Expires: time.Now().Add(10 * time.Second)})
		time.Sleep(5 * time.Second)
		g.user("t")
	})
}

func TestInactiveIsCachedForFiveSeconds(t *testing.T) {
	bubble(t, func(_ *testing.T, g *guild) {
		g.refused("t", center.ErrInactive)
		g.SetToken("t", centertest.Token{UserID: "alice"})
		time.Sleep(5*time.Second - 1)
		g.refused("t", center.ErrInactive)
		g.wantCalls(centertest.Introspect, 1)
		time.Sleep(time.Nanosecond)
		g.user("t")
		g.wantCalls(centertest.Introspect, 2)
	})
}

// While Center is down, cached answers are used until they expire. For other tokens the error is
// ErrUnavailable, and every introspection asks Center again.
func TestFailureIsNotCached(t *testing.T) {
	bubble(t, func(t *testing.T, g *guild) {
		g.SetToken("t", centertest.Token{UserID: "alice"})
		g.user("t")
		g.Break(centertest.Status(503))
		g.user("t")
		g.refused("other", center.ErrUnavailable)
		time.Sleep(time.Minute)
		g.refused("t", center.ErrUnavailable)
		g.refused("t", center.ErrUnavailable)
		g.wantCalls(centertest.Introspect, 4)
		g.Mend()
		g.user("t")
		for text, want := range map[string]int{"cannot be checked": 1, "Center answers again": 1} {
			if got := g.logs.count(text); got != want {
				t.Errorf("got %d times %q, want %d:\n%s", got, text, want, g.logs)
			}
		}
	})
}
