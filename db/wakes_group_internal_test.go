package db

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"fabric-guild/events"
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

// Rule 56: a group has one claim of each user, claims of one epoch, and 16 at most.
func TestWhichClaimsShareATransaction(t *testing.T) {
	t.Parallel()
	claim := func(user string, epoch int64) *claiming {
		return &claiming{WakeClaim: WakeClaim{User: user, At: events.Cursor{Epoch: epoch}}}
	}
	waiting := []*claiming{claim("a", 1), claim("b", 1), claim("c", 2), claim("b", 1)}
	for i := range 20 {
		waiting = append(waiting, claim(fmt.Sprint("more ", i), 1))
	}
	group := chooseClaims(claim("a", 1), waiting)
	users := map[string]bool{}
	for _, c := range group {
		if users[c.User] || c.At.Epoch != 1 {
			t.Errorf("got a second claim of %s, or one of another epoch: %d", c.User, c.At.Epoch)
		}
		users[c.User] = true
	}
	if len(group) != claimGroup || !users["b"] {
		t.Errorf("got a group of %d, want %d with the first waiting user", len(group), claimGroup)
	}
}
