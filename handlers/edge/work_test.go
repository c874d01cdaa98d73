package edge

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"fabric-guild/handlers/web"
)

// A user who reads all the time gets a quarter of the time. Other users do not wait.
func TestWorkIsPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := NewWork()
		began := time.Now()
		var worked time.Duration
		for time.Since(began) < time.Minute {
			if err := x.Await(t.Context(), "mallory"); err != nil {
				t.Fatal(err)
			}
			if err := x.Await(t.Context(), "bob"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
			worked += 10 * time.Millisecond
			x.Charge("mallory", 10*time.Millisecond)
			x.Charge("bob", time.Microsecond)
		}
		if want := workAtOnce + 15*time.Second; worked < want-time.Second || worked > want+time.Second {
			t.Errorf("got %v of work in a minute, want about %v", worked, want)
		}
		time.Sleep(2 * rateWindow)
		x.Charge("carol", time.Millisecond)
		if len(x.byKey) != 1 {
			t.Errorf("got %d users in memory, want carol alone", len(x.byKey))
		}
	})
}

func TestWorkIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := NewWork()
		for range 2 {
			x.Charge("mallory", time.Minute) // counts as workAtOnce
		}
		err := x.Await(t.Context(), "mallory")
		p, ok := errors.AsType[*web.Problem](err)
		if !ok || p.Code != "too_many_requests" || p.RetryAfter != 17 {
			t.Errorf("got %v, want a refusal for the 16 s that are owed", err)
		}
		time.Sleep(12 * time.Second)
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if err := x.Await(gone, "mallory"); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the end of the request", err)
		}
		if err := x.Await(t.Context(), "mallory"); err != nil {
			t.Errorf("got %v, want a wait of 4 s", err)
		}
	})
}
