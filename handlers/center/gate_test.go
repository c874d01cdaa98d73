package center_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"fabric-guild/handlers/center"
	"fabric-guild/handlers/center/centertest"
)

func addressNamed(n int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}) }

// slow is a Center that takes a tenth of a second for each call, and counts how many are under way.
type slow struct{ now, most atomic.Int64 }

func (s *slow) fault(_ http.ResponseWriter, _ *http.Request) bool {
	now := s.now.Add(1)
	defer s.now.Add(-1)
	for most := s.most.Load(); now > most && !s.most.CompareAndSwap(most, now); most = s.most.Load() {
	}
	time.Sleep(100 * time.Millisecond)
	return true
}

// introspect asks for n tokens at once, each of which has a name of its own, and counts what came of it.
func (g *guild) introspect(from netip.Addr, name string, n int) (active, inactive, refused, unavailable int) {
	var mu sync.Mutex
	var askers sync.WaitGroup
	for i := range n {
		askers.Go(func() {
			_, err := g.client.Introspect(g.t.Context(), from, fmt.Sprint(name, i))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				active++
			case errors.Is(err, center.ErrInactive):
				inactive++
			case errors.Is(err, center.ErrTooManyNew):
				refused++
			default:
				unavailable++
			}
		})
	}
	askers.Wait()
	return active, inactive, refused, unavailable
}

// A flood of made-up tokens from everywhere leaves connections for the tokens of those who are here, whose answers
// have to be renewed, and for streams.
func TestMadeUpTokensLeaveRoomForKnownOnes(t *testing.T) {
	bubble(t, func(t *testing.T, g *guild) {
		const known = 16
		for i := range known {
			g.SetToken(fmt.Sprint("known", i), centertest.Token{UserID: "alice"})
		}
		if active, _, _, _ := g.introspect(netip.Addr{}, "known", known); active != known {
			t.Fatalf("got %d active tokens, want %d", active, known)
		}
		time.Sleep(2 * time.Minute)
		var center slow
		g.Break(center.fault, centertest.Introspect)
		var flood sync.WaitGroup
		for from := range 100 {
			flood.Go(func() { g.introspect(addressNamed(from), fmt.Sprint("made-up-", from, "-"), 16) })
		}
		synctest.Wait()
		start := time.Now()
		if active, _, _, _ := g.introspect(netip.Addr{}, "known", known); active != known {
			t.Errorf("got %d answers about tokens that are known, want %d", active, known)
		}
		if got, want := time.Since(start), 100*time.Millisecond; got != want {
			t.Errorf("got these answers after %v, want %v", got, want)
		}
		flood.Wait()
		if full, _ := g.client.Refused(); full == 0 {
			t.Error("got no refusal counted")
		}
	})
}

// An address that makes up tokens is refused without a call of Center; others are not, nor are tokens that it
// brought before.
func TestMadeUpTokensOfAnAddress(t *testing.T) {
	bubble(t, func(t *testing.T, g *guild) {
		g.SetToken("known0", centertest.Token{UserID: "alice"})
		g.SetToken("new0", centertest.Token{UserID: "bob"})
		evil, good := addressNamed(1), addressNamed(2)
		g.introspect(evil, "known", 1)
		var center slow
		g.Break(center.fault, centertest.Introspect)
		before := g.Calls(centertest.Introspect)
		_, inactive, refused, unavailable := g.introspect(evil, "made-up", 1600)
		if inactive != 32 || refused != 1600-32 || unavailable != 0 {
			t.Errorf("got %d answers, %d refusals and %d failures, want 32, the rest and none", inactive, refused, unavailable)
		}
		if got := g.Calls(centertest.Introspect) - before; got != 32 {
			t.Errorf("got %d calls of Center, want 32", got)
		}
		if _, _, refused, _ := g.introspect(evil, "new", 1); refused != 1 {
			t.Error("got an answer about another new token of that address, want a refusal")
		}
		if active, _, _, _ := g.introspect(good, "new", 1); active != 1 {
			t.Error("got none about a new token of another address")
		}
		time.Sleep(2 * time.Minute)
		g.introspect(evil, "made-up", 1600)
		if active, _, _, _ := g.introspect(evil, "known", 1); active != 1 {
			t.Error("got no answer about the token that was valid before")
		}
		time.Sleep(time.Second)
		if _, inactive, _, _ := g.introspect(evil, "later", 100); inactive < 5 || inactive > 7 {
			t.Errorf("got %d answers a second later, want 5 for each second", inactive)
		}
		if _, address := g.client.Refused(); address == 0 {
			t.Error("got no refusal counted")
		}
	})
}

// Many users behind one address sign in at once, after this server has started anew: no more than so many calls at a
// time, and nobody is refused.
func TestManyUsersOfAnAddress(t *testing.T) {
	bubble(t, func(t *testing.T, g *guild) {
		const users = 600
		for i := range users {
			g.SetToken(fmt.Sprint("user", i), centertest.Token{UserID: fmt.Sprint("user", i)})
		}
		var center slow
		g.Break(center.fault, centertest.Introspect)
		if active, _, _, _ := g.introspect(addressNamed(1), "user", users); active != users {
			t.Errorf("got %d of %d users in, want all", active, users)
		}
		if got := center.most.Load(); got != 32 {
			t.Errorf("got %d calls at a time, want 32", got)
		}
		if got := g.client.Addresses(); got != 1 {
			t.Errorf("got %d addresses, want 1", got)
		}
		time.Sleep(10 * time.Second)
		g.introspect(addressNamed(2), "user0000", 1)
		if got := g.client.Addresses(); got != 1 {
			t.Errorf("got %d addresses, want the last alone: who made nothing up is forgotten", got)
		}
	})
}
