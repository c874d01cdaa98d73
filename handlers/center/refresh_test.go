package center_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fabric-guild/handlers/center"
	"fabric-guild/handlers/center/centertest"

	"github.com/google/go-cmp/cmp"
)

// A refreshed is the result of Refresh.
type refreshed struct {
	Before, After *center.Admin
	Changed       bool
}

func refresh(ctx context.Context, c *center.AdminCache) (r refreshed) {
	r.Before, r.After, r.Changed = c.Refresh(ctx)
	return r
}

func TestRefresh(t *testing.T) {
	t.Parallel()
	g := onSocket(t)
	admins := g.admins()
	admins.Await(t.Context())
	for _, tt := range []struct {
		name string
		at   func()
		want refreshed
	}{
		{"still no admin", func() {}, refreshed{nil, nil, false}},
		{"the first admin", func() { g.SetAdmin(ada.Email, ada.UserID) }, refreshed{nil, ada, true}},
		{"the same admin", func() {}, refreshed{ada, ada, false}},
		{"another admin", func() { g.SetAdmin(bob.Email, bob.UserID) }, refreshed{ada, bob, true}},
		{"no user id", func() { g.SetAdmin(ada.Email, "") }, refreshed{bob, nil, true}},
		{"the admin is back", func() { g.SetAdmin(ada.Email, ada.UserID) }, refreshed{nil, ada, true}},
		{"the admin is removed", g.RemoveAdmin, refreshed{ada, nil, true}},
		{"the admin is back again", func() { g.SetAdmin(ada.Email, ada.UserID) }, refreshed{nil, ada, true}},
		{"Center is down", g.Close, refreshed{ada, nil, true}},
		{"Center is still down", func() {}, refreshed{nil, nil, false}},
	} {
		tt.at()
		if diff := cmp.Diff(tt.want, refresh(t.Context(), admins)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// A refreshed admin is used for a day from the refresh.
func TestRefreshBeginsANewDay(t *testing.T) {
	bubble(t, func(t *testing.T, g *guild) {
		admins := g.admins()
		time.Sleep(day / 2)
		refresh(t.Context(), admins)
		time.Sleep(day - 1)
		wantAdmin(t, admins, nil, true)
		synctest.Wait()
		g.wantCalls(centertest.AdminEmail, 2)
		time.Sleep(time.Nanosecond)
		wantAdmin(t, admins, nil, true)
		synctest.Wait()
		g.wantCalls(centertest.AdminEmail, 3)
	})
}

// A fetch that began before the refresh may not see the operator's change. So one more fetch follows it,
// which all waiting operators share. Two fetches never run at the same time.
func TestRefreshDoesNotRelyOnARunningFetch(t *testing.T) {
	bubble(t, func(t *testing.T, g *guild) {
		release := g.Hang()
		admins := g.admins()
		synctest.Wait()
		g.SetAdmin(ada.Email, ada.UserID)
		var operators sync.WaitGroup
		for range 20 {
			operators.Go(func() {
				if diff := cmp.Diff(refreshed{ada, bob, true}, refresh(t.Context(), admins)); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
		synctest.Wait()
		g.wantCalls(centertest.AdminEmail, 1)
		releaseNext := g.Hang()
		release()
		synctest.Wait()
		g.wantCalls(centertest.AdminEmail, 2)
		g.SetAdmin(bob.Email, bob.UserID)
		wantAdmin(t, admins, ada, true)
		releaseNext()
		operators.Wait()
		g.wantCalls(centertest.AdminEmail, 2)
		wantAdmin(t, admins, bob, true)
	})
}

// An operator who goes away stops waiting, and the fetch continues.
func TestRefreshCallerGoes(t *testing.T) {
	bubble(t, func(t *testing.T, g *guild) {
		admins := g.admins()
		synctest.Wait()
		release := g.Hang()
		g.SetAdmin(ada.Email, ada.UserID)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if diff := cmp.Diff(refreshed{}, refresh(ctx, admins)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if got, want := time.Since(start), time.Second; got != want {
			t.Errorf("Refresh blocked for %v, want %v", got, want)
		}
		release()
		synctest.Wait()
		wantAdmin(t, admins, ada, true)
	})
}
