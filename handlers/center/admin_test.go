package center_test

import (
	"testing"
	"testing/synctest"
	"time"

	"fabric-guild/handlers/center"
	"fabric-guild/handlers/center/centertest"

	"github.com/google/go-cmp/cmp"
)

const day = 24 * time.Hour

var (
	ada = &center.Admin{Email: "ada@example.org", UserID: "ada"}
	bob = &center.Admin{Email: "bob@example.org", UserID: "bob"}
)

// wantAdmin checks a snapshot, and that Snapshot does not block.
func wantAdmin(t *testing.T, c *center.AdminCache, want *center.Admin, wantFilled bool) {
	t.Helper()
	start := time.Now()
	got, filled := c.Snapshot()
	if diff := cmp.Diff(want, got); diff != "" || filled != wantFilled {
		t.Errorf("got filled %v, want %v (-want +got):\n%s", filled, wantFilled, diff)
	}
	if took := time.Since(start); took != 0 {
		t.Errorf("Snapshot blocked for %v, want no blocking", took)
	}
}

func TestAdminIsKeptForADay(t *testing.T) {
	bubble(t, func(t *testing.T, g *guild) {
		g.SetAdmin(ada.Email, ada.UserID)
		admins := g.admins()
		synctest.Wait()
		wantAdmin(t, admins, ada, true)
		g.SetAdmin(bob.Email, bob.UserID)
		time.Sleep(day - 1)
		wantAdmin(t, admins, ada, true)
		synctest.Wait()
		g.wantCalls(centertest.AdminEmail, 1)
		time.Sleep(3 * day) // nobody asks, so nothing is fetched
		g.wantCalls(centertest.AdminEmail, 1)
		wantAdmin(t, admins, ada, true) // an old admin, and a fetch in the background
		synctest.Wait()
		wantAdmin(t, admins, bob, true)
		g.wantCalls(centertest.AdminEmail, 2)
	})
}

func TestAdminAnswers(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]struct {
		admin    *center.Admin
		failures int64
	}{
		`{"email":"ada@example.org","userId":"ada","name":"Ada"}`: {ada, 0},
		`null`:                          {nil, 0},
		`{}`:                            {nil, 0},
		`{"email":"ada@example.org"}`:   {nil, 0},
		`{"userId":"ada"}`:              {nil, 0},
		`{"email":null,"userId":"ada"}`: {nil, 0},
		`{"email":"ada@example.org","userId":""}`:      {nil, 0},
		`{"email":"ada@example.org","userId":7}`:       {nil, 1},
		`{"email":"ada@example.org","userId":"a b"}`:   {nil, 1},
		`{"email":["ada@example.org"],"userId":"ada"}`: {nil, 1},
		`[]`: {nil, 1},
		``:   {nil, 1},
	} {
		t.Run(answer, func(t *testing.T) {
			t.Parallel()
			g := onSocket(t)
			g.Break(centertest.Answer(answer))
			admin, filled := g.admins().Await(t.Context())
			if diff := cmp.Diff(want.admin, admin); diff != "" || !filled {
				t.Errorf("got filled %v, want true (-want +got):\n%s", filled, diff)
			}
			if got := g.client.Counts()["admin_email"].Failures["invalid"]; got != want.failures {
				t.Errorf("got %d failures, want %d", got, want.failures)
			}
		})
	}
}

// A failed fetch counts as no admin for a day, even if there was an admin before.
func TestFailedFetchIsNoAdmin(t *testing.T) {
	bubble(t, func(t *testing.T, g *guild) {
		g.SetAdmin(ada.Email, ada.UserID)
		g.Break(centertest.Status(500))
		admins := g.admins()
		synctest.Wait()
		wantAdmin(t, admins, nil, true)
		g.Mend()
		time.Sleep(day - 1)
		wantAdmin(t, admins, nil, true)
		synctest.Wait()
		g.wantCalls(centertest.AdminEmail, 1)
		time.Sleep(time.Nanosecond)
		wantAdmin(t, admins, nil, true)
		synctest.Wait()
		wantAdmin(t, admins, ada, true)
		g.Break(centertest.Status(500))
		time.Sleep(day)
		wantAdmin(t, admins, ada, true)
		synctest.Wait()
		wantAdmin(t, admins, nil, true)
		if got, want := g.logs.count("fetching the admin failed"), 2; got != want {
			t.Errorf("got %d lines, want %d:\n%s", got, want, g.logs)
		}
		if got, want := g.client.Counts()["admin_email"].Failures["status"], int64(2); got != want {
			t.Errorf("got %d failures, want %d", got, want)
		}
	})
}
