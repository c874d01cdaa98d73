package center_test

import (
	"bytes"
	"context"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fabric-guild/handlers/center"
	"fabric-guild/handlers/center/centertest"
)

// While a fetch hangs, any number of callers get the old admin at once.
func TestSnapshotNeverBlocks(t *testing.T) {
	bubble(t, func(t *testing.T, g *guild) {
		g.SetAdmin(ada.Email, ada.UserID)
		admins := g.admins()
		synctest.Wait()
		g.SetAdmin(bob.Email, bob.UserID)
		release := g.Hang()
		time.Sleep(day)
		for range 50 {
			wantAdmin(t, admins, ada, true)
			awaited(t, admins, 0, ada, true)
		}
		synctest.Wait()
		g.wantCalls(centertest.AdminEmail, 2)
		release()
		synctest.Wait()
		wantAdmin(t, admins, bob, true)
	})
}

// awaited checks what Await returns, and how long it blocks.
func awaited(t *testing.T, c *center.AdminCache, want time.Duration, admin *center.Admin, filled bool) {
	t.Helper()
	start := time.Now()
	got, ok := c.Await(t.Context())
	if took := time.Since(start); took != want {
		t.Errorf("Await blocked for %v, want %v", took, want)
	}
	if (got == nil) != (admin == nil) || got != nil && *got != *admin || ok != filled {
		t.Errorf("got %v, filled %v, want %v, %v", got, ok, admin, filled)
	}
}

func TestFirstFetchIsAwaited(t *testing.T) {
	bubble(t, func(t *testing.T, g *guild) {
		g.SetAdmin(ada.Email, ada.UserID)
		time.AfterFunc(1500*time.Millisecond, g.Hang())
		admins := g.admins()
		wantAdmin(t, admins, nil, false)
		var posts sync.WaitGroup
		for range 50 {
			posts.Go(func() { awaited(t, admins, 1500*time.Millisecond, ada, true) })
		}
		posts.Go(func() { // the client of this post goes away
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if admin, filled := admins.Await(ctx); admin != nil || filled {
				t.Errorf("got %v, filled %v, want nothing yet", admin, filled)
			}
		})
		posts.Wait()
		awaited(t, admins, 0, ada, true)
		g.wantCalls(centertest.AdminEmail, 1)
	})
}

// While Center hangs, the first posts wait two seconds, and later posts do not wait.
func TestFirstFetchIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T, g *guild) {
		g.Hang()
		admins := g.admins()
		awaited(t, admins, 2*time.Second, nil, true)
		awaited(t, admins, 0, nil, true)
		g.wantCalls(centertest.AdminEmail, 1)
	})
}

func TestFixedAdmin(t *testing.T) {
	bubble(t, func(t *testing.T, _ *guild) {
		for _, want := range []*center.Admin{nil, ada} {
			admins := center.FixedAdmin(want)
			wantAdmin(t, admins, want, true)
			awaited(t, admins, 0, want, true)
			if before, after, changed := admins.Refresh(t.Context()); before != want ||
				after != want || changed {
				t.Errorf("got %v, %v, changed %v, want %v unchanged", before, after, changed, want)
			}
			admins.Close()
			wantAdmin(t, admins, want, true)
		}
	})
}

// AdminCache.Close ends a running fetch at once, releases the goroutines that wait for it, and leaves no
// goroutine behind. Client.Close does the same for introspections.
func TestCloseLeavesNothing(t *testing.T) {
	bubble(t, func(t *testing.T, g *guild) {
		start := time.Now()
		var waiting sync.WaitGroup
		pprof.Do(t.Context(), pprof.Labels("center", "closing"), func(ctx context.Context) {
			release := g.Hang()
			for _, token := range []string{"a", "b", "c"} { // each leaves an idle connection
				waiting.Go(func() { g.refused(token, center.ErrInactive) })
			}
			synctest.Wait()
			release()
			waiting.Wait()
			g.Hang()
			admins := g.admins()
			waiting.Go(func() { awaited(t, admins, 0, nil, false) })
			waiting.Go(func() {
				if before, after, changed := admins.Refresh(ctx); before != nil || after != nil || changed {
					t.Errorf("got %v, %v, changed %v, want nothing", before, after, changed)
				}
			})
			waiting.Go(func() { g.refused("t", center.ErrUnavailable) })
			synctest.Wait()
			g.ends("center.(*AdminCache).run", admins.Close)
			g.ends("center.(*Client).fly", g.client.Close)
			admins.Close()
			waiting.Wait()
			wantAdmin(t, admins, nil, false)
			awaited(t, admins, 0, nil, false)
		})
		synctest.Wait()
		if got := labelled(""); got != 0 {
			t.Errorf("got %d kinds of leaked goroutines, want none", got)
		}
		if got := time.Since(start); got != 0 {
			t.Errorf("closing took %v, want no time", got)
		}
		if got := g.client.Counts()["admin_email"]; got.Calls != 1 || got.Failures["unreachable"] != 0 {
			t.Errorf("got %v, want one call and no failure", got)
		}
		if got := g.logs.String(); got != "" {
			t.Errorf("got %q, want an empty log", got)
		}
	})
}

// ends checks that a goroutine runs in a function before end is called, and none after end has returned.
func (g *guild) ends(in string, end func()) {
	g.t.Helper()
	if labelled(in) == 0 {
		g.t.Errorf("got no goroutine in %s before the end, want one", in)
	}
	end()
	if got := labelled(in); got != 0 {
		g.t.Errorf("got %d kinds of goroutines in %s after the end, want none", got, in)
	}
}

// labelled returns how many kinds of goroutines run in a function. It counts only goroutines that
// TestCloseLeavesNothing started, and not the caller itself.
func labelled(in string) (kinds int) {
	var all bytes.Buffer
	_ = pprof.Lookup("goroutine").WriteTo(&all, 1) // a buffer takes everything
	for stack := range strings.SplitSeq(all.String(), "\n\n") {
		ours := strings.Contains(stack, `"center":"closing"`) &&
			!strings.Contains(stack, "center_test.labelled")
		if ours && strings.Contains(stack, in) {
			kinds++
		}
	}
	return kinds
}
