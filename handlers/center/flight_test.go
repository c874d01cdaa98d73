package center_test

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fabric-guild/handlers/center"
	"fabric-guild/handlers/center/centertest"
)

func TestCallersOfOneTokenShareACall(t *testing.T) {
	bubble(t, func(t *testing.T, g *guild) {
		g.SetToken("t", centertest.Token{UserID: "alice"})
		release := g.Hang()
		var callers sync.WaitGroup
		for range 50 {
			callers.Go(func() {
				if id, err := g.client.Introspect(t.Context(), netip.Addr{}, "t"); err != nil ||
					id.UserID != "alice" {
					t.Errorf("got %v, %v, want alice", id, err)
				}
			})
		}
		callers.Go(func() { g.refused("other", center.ErrInactive) })
		synctest.Wait()
		g.wantCalls(centertest.Introspect, 2)
		release()
		callers.Wait()
		g.wantCalls(centertest.Introspect, 2)
	})
}

// If the first caller goes away, its call continues for the other callers.
func TestCallContinuesWhenTheFirstCallerGoes(t *testing.T) {
	bubble(t, func(t *testing.T, g *guild) {
		g.SetToken("t", centertest.Token{UserID: "alice"})
		release := g.Hang()
		gone := errors.New("gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		var callers sync.WaitGroup
		callers.Go(func() {
			if _, err := g.client.Introspect(ctx, netip.Addr{}, "t"); !errors.Is(err, gone) {
				t.Errorf("got %v, want %v", err, gone)
			}
		})
		synctest.Wait()
		callers.Go(func() { g.user("t") })
		synctest.Wait()
		start := time.Now()
		cancel(gone)
		synctest.Wait()
		if got := time.Since(start); got != 0 {
			t.Errorf("Introspect blocked for %v after the cancel, want no blocking", got)
		}
		release()
		callers.Wait()
		g.user("t")
		g.wantCalls(centertest.Introspect, 1)
	})
}

// If all callers go away, the answer is still cached.
func TestAnswerIsCachedWhenAllCallersGo(t *testing.T) {
	bubble(t, func(t *testing.T, g *guild) {
		g.SetToken("t", centertest.Token{UserID: "alice"})
		release := g.Hang()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := g.client.Introspect(ctx, netip.Addr{}, "t"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
		}
		release()
		synctest.Wait()
		g.user("t")
		g.wantCalls(centertest.Introspect, 1)
		if got := g.client.Counts()["introspect"].Failures["timeout"]; got != 0 {
			t.Errorf("got %d failures, want none, because only the caller went away", got)
		}
	})
}

// The limit of two seconds counts from the start of the call, not from the arrival of each caller.
func TestFlightIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T, g *guild) {
		g.Hang()
		start := time.Now()
		var callers sync.WaitGroup
		for n := range 4 {
			callers.Go(func() {
				time.Sleep(time.Duration(n) * 500 * time.Millisecond)
				g.refused("t", center.ErrUnavailable)
				if got, want := time.Since(start), 2*time.Second; got != want {
					t.Errorf("caller %d: got an answer after %v, want %v", n, got, want)
				}
			})
		}
		callers.Wait()
		g.wantCalls(centertest.Introspect, 1)
	})
}

func TestClose(t *testing.T) {
	bubble(t, func(t *testing.T, g *guild) {
		g.Hang()
		var callers sync.WaitGroup
		callers.Go(func() { g.refused("t", center.ErrUnavailable) })
		synctest.Wait()
		start := time.Now()
		g.client.Close()
		callers.Wait()
		g.refused("t", center.ErrUnavailable)
		g.client.Close()
		if got := time.Since(start); got != 0 {
			t.Errorf("Close took %v, want no time", got)
		}
		g.wantCalls(centertest.Introspect, 1)
		if got := g.logs.String(); got != "" {
			t.Errorf("got %q, want an empty log", got)
		}
	})
}
