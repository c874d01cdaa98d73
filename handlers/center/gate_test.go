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

// slow makes every call to Center take a tenth of a second, and counts the concurrent calls.
type slow struct {
	now  atomic.Int64
	most atomic.Int64
}

func (s *slow) fault(_ http.ResponseWriter, _ *http.Request) bool {
	now := s.now.Add(1)
	defer s.now.Add(-1)
	for {
		most := s.most.Load()
		if now <= most || s.most.CompareAndSwap(most, now) {
			break
		}
	}
	time.Sleep(100 * time.Millisecond)
	return true
}

// introspect introspects n different tokens at once, whose names begin with name. It returns how often each
// result occurred.
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

// A flood of made-up tokens from many addresses leaves connections free, so that the tokens of current users
// can be checked again.
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
			t.Errorf("got %d answers about known tokens, want %d", active, known)
		}
		if got, want := time.Since(start), 100*time.Millisecond; got != want {
			t.Errorf("the answers about known tokens took %v, want %v", got, want)
		}
		flood.Wait()
		if full, _ := g.client.Refused(); full == 0 {
			t.Error("no refusal was counted, want at least one")
		}
	})
}

// If an address makes up tokens, its new tokens are refused without a call to Center. New tokens of other
// addresses are not refused, and neither are tokens that were valid before.
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
			t.Errorf("got %d answers, %d refusals and %d failures, want 32, %d and 0",
				inactive, refused, unavailable, 1600-32)
		}
		if got := g.Calls(centertest.Introspect) - before; got != 32 {
			t.Errorf("got %d calls to Center, want 32", got)
		}
		if _, _, refused, _ := g.introspect(evil, "new", 1); refused != 1 {
			t.Error("a new valid token from the flooding address was not refused")
		}
		if active, _, _, _ := g.introspect(good, "new", 1); active != 1 {
			t.Error("a new valid token from another address got no answer")
		}
		time.Sleep(2 * time.Minute)
		g.introspect(evil, "made-up", 1600)
		if active, _, _, _ := g.introspect(evil, "known", 1); active != 1 {
			t.Error("the token that was valid before got no answer")
		}
		time.Sleep(time.Second)
		if _, inactive, _, _ := g.introspect(evil, "later", 100); inactive < 5 || inactive > 7 {
			t.Errorf("got %d answers one second later, want about 5", inactive)
		}
		if _, address := g.client.Refused(); address == 0 {
			t.Error("no refusal was counted, want at least one")
		}
	})
}

// After a restart of this server, many users behind one address sign in at once. At most 32 calls run at a
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
			t.Errorf("%d of %d users could sign in, want all", active, users)
		}
		if got := center.most.Load(); got != 32 {
			t.Errorf("got %d concurrent calls, want 32", got)
		}
		if got := g.client.Addresses(); got != 1 {
			t.Errorf("got %d addresses, want 1", got)
		}
		time.Sleep(10 * time.Second)
		g.introspect(addressNamed(2), "user0000", 1)
		if got := g.client.Addresses(); got != 1 {
			t.Errorf("got %d addresses, want 1: the sweep removes an address without made-up tokens", got)
		}
	})
}
