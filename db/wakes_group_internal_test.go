package db

import (
	"context"
	"testing"
	"testing/synctest"
)

// If a group panics, those who share it do not take what it had prepared for success.
func TestAGroupThatPanicsClaimsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &DB{places: make(chan struct{}, 1)} // without a pool, so each transaction panics
		d.claims = newClaims(d)
		release := make(chan struct{})
		do := d.claims.do
		d.claims.do = func(ctx context.Context, group []*claiming) {
			<-release
			do(ctx, group)
		}
		got := make(chan error, 3)
		for _, user := range []string{"first", "leads", "follows"} {
			go func() {
				defer func() { _ = recover() }()
				c := &claiming{seat: newSeat(), WakeClaim: WakeClaim{User: user, Rung: true}}
				got <- d.claimPage(t.Context(), c)
			}()
			synctest.Wait()
		}
		close(release)
		if err := <-got; err == nil {
			t.Error("a claim has no error, but its group panicked")
		}
	})
}
