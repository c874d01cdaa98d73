package edge

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Who has all in hand again is forgotten; who has not is remembered, or they would get it anew.
func TestQuietUsersAreForgotten(t *testing.T) {
	t.Parallel()
	x, now := NewRates(5), time.Now()
	take := func(user string) error { return x.Take(http.Header{}, user, 1, now) }
	for i := range 10_000 {
		if err := take(fmt.Sprint("user", i)); err != nil {
			t.Fatal(err)
		}
	}
	for take("busy") == nil { // until nothing is left
	}
	now = now.Add(rateWindow - time.Second)
	for range 5 * 9 {
		if err := take("busy"); err != nil {
			t.Fatal(err)
		}
	}
	now = now.Add(time.Second)
	for range 5 {
		if err := take("busy"); err != nil {
			t.Fatal(err)
		}
	}
	if len(x.byKey) != 1 {
		t.Errorf("got %d users in mind, want the busy one alone", len(x.byKey))
	}
	if take("busy") == nil {
		t.Error("got no refusal, want one: what was used up is not given twice")
	}
}

// The refusal of each limit says which requests were too many. Its headers name the limit, and no other limit
// has that name: clients count by it.
func TestRefusalsNameTheirRequests(t *testing.T) {
	t.Parallel()
	names := map[string]string{}
	for want, x := range map[string]*Rates{
		"1 changes per second":               NewRates(1),
		"1 claims and extensions per second": NewQueueRates(1),
		"200 reads per second":               NewReadRates(),
		"1 streams opened per second":        NewOpenRates(10),
		"50 activities per second":           NewActivityRates(),
		"1 post with ifLast per second":      NewFreshRates(),
	} {
		now := time.Now()
		h := http.Header{}
		var err error
		for err == nil {
			err = x.Take(h, "bob", 1, now)
		}
		name, _, _ := strings.Cut(h.Get("RateLimit-Policy"), ";")
		if other, taken := names[name]; taken {
			t.Errorf("the limits of %s and of %s have the name %s", want, other, name)
		}
		names[name] = want
		if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "%!") {
			t.Errorf("got %q, want %q in it", err, want)
		}
	}
}

func BenchmarkRate(b *testing.B) {
	x, h, now := NewRates(1e9), http.Header{}, time.Now()
	for b.Loop() {
		if err := x.Take(h, "alice", 1, now); err != nil {
			b.Fatal(err)
		}
	}
}
