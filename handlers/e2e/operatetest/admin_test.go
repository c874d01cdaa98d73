package operatetest_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/handlers/center/centertest"
	"fabric-guild/handlers/e2e/nodetest"
)

func TestTheOperatorRefreshesTheAdmin(t *testing.T) {
	t.Parallel()
	fake := centertest.New(t)
	n := nodetest.Start(t, nodetest.Setup{Center: fake, BasePath: "/chat"})
	ann := n.User("ann")
	id := ann.Makes(t, "triage", []string{"bob"}, nil).Channel.ID
	for name, who := range map[string]*nodetest.User{
		"nobody": {Node: n, ID: "nobody", Token: ""}, "a user": ann,
		"another key":       {Node: n, ID: "wrong", Token: strings.Repeat("0", 64)},
		"a part of the key": {Node: n, ID: "part", Token: n.Operator(t).Token[:63]},
	} {
		a, err := who.Do("POST", "/api/admin/refresh", nil)
		if err != nil || a.Status != 401 || a.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: got %v, %v and error %v, want 401", name, a, a.Header, err)
		}
	}
	ada, eve := &nodetest.AdminJSON{Email: "ada@example.org", UserID: "ada"},
		&nodetest.AdminJSON{Email: "eve@example.org", UserID: "eve"}
	for _, step := range []struct {
		name          string
		change        func()
		before, after *nodetest.AdminJSON
		admin         string // who hears the next message as the admin
	}{
		{"none yet", func() {}, nil, nil, ""},
		{"the first", func() { fake.SetAdmin(ada.Email, "ada") }, nil, ada, "ada"},
		{"the same", func() {}, ada, ada, "ada"},
		{"another", func() { fake.SetAdmin(eve.Email, "eve") }, ada, eve, "eve"},
		{"a half is none", func() { fake.SetAdmin("half@example.org", "") }, eve, nil, ""},
		{"again", func() { fake.SetAdmin(eve.Email, "eve") }, nil, eve, "eve"},
		{
			"a failure is none", func() { fake.Break(centertest.Status(500), centertest.AdminEmail) },
			eve, nil, "",
		},
		{"mended", func() { fake.Mend() }, nil, eve, "eve"},
		{"removed", fake.RemoveAdmin, eve, nil, ""},
	} {
		step.change()
		want := nodetest.Refreshed{
			OK: true, Before: step.before, After: step.after,
			Changed: !cmp.Equal(step.before, step.after),
		}
		if diff := cmp.Diff(want, n.Operate(t, 200)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.name, diff)
		}
		wantOutcomes := map[string]string{"ann": "skip author", "bob": "skip not_addressed"}
		if step.admin != "" {
			wantOutcomes[step.admin] = "observer admin"
		}
		if diff := cmp.Diff(wantOutcomes,
			ann.Deliveries(t, ann.Says(t, id, step.name).Message.ID)); diff != "" {
			t.Errorf("%s: deliveries (-want +got):\n%s", step.name, diff)
		}
	}
	calls := fake.Calls(centertest.AdminEmail)
	ann.Says(t, id, "once more")
	if got := fake.Calls(centertest.AdminEmail); got != calls {
		t.Errorf("got %d questions, want the %d before: also that there is none is kept", got, calls)
	}
}

func TestTheAdminWithoutCenter(t *testing.T) {
	t.Parallel()
	ada := &nodetest.AdminJSON{Email: "ada@example.org", UserID: "ada"}
	for name, want := range map[string]nodetest.Refreshed{
		"":    {OK: true},
		"ada": {OK: true, Before: ada, After: ada},
	} {
		if diff := cmp.Diff(want,
			nodetest.Start(t, nodetest.Setup{Admin: name}).Operate(t, 200)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", name, diff)
		}
	}
}

// A message in triage waits for the first answer of Center about the admin. Other messages do not wait.
// Center has two seconds for the answer: if a busy machine takes longer for the test's steps, the test begins
// again.
func TestWhoWaitsForTheAdmin(t *testing.T) {
	t.Parallel()
	for attempt := 1; !triageWaits(t); attempt++ {
		if attempt == 20 {
			t.Fatal("each time Center's two seconds were over before the test let it answer")
		}
	}
}

// triageWaits reports false if Center's time was over before the test let it answer.
func triageWaits(t *testing.T) bool {
	t.Helper()
	fake := centertest.New(t)
	fake.SetAdmin("ada@example.org", "ada")
	release := fake.Hang(centertest.AdminEmail)
	defer release()
	n := nodetest.Start(t, nodetest.Setup{Center: fake})
	ann := n.User("ann")
	triage := ann.Makes(t, "triage", []string{"bob"}, nil).Channel.ID
	var p nodetest.FullPost
	posted := make(chan struct{})
	go func() {
		defer close(posted)
		var err error
		if p, err = nodetest.Ask[nodetest.FullPost](ann, 201, "POST", "/api/channels/"+triage+"/messages",
			nodetest.Body{"content": "waits"}); err != nil {
			t.Error(err)
		}
	}()
	ann.Says(t, ann.Makes(t, "work", []string{"bob"}, nil).Channel.ID, "does not wait")
	waits := true
	select {
	case <-posted:
		waits = false
	default:
	}
	release()
	<-posted
	if n.Scrape(t).Series["fabric_guild_admin_fetch_failures_total"] > 0 {
		return false
	}
	if !waits {
		t.Errorf("got %+v before Center answered, want that it waits for the admin", p)
	}
	want := map[string]string{"ann": "skip author", "bob": "skip not_addressed", "ada": "observer admin"}
	if diff := cmp.Diff(want, ann.Deliveries(t, p.Message.ID)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	return true
}

// It waits once, for a bounded time. Then there is no admin. Tests of the client of Center, whose clock
// stands still, show that it waits for two seconds.
func TestTheAdminIsNotWaitedForTwice(t *testing.T) {
	t.Parallel()
	fake := centertest.New(t)
	fake.SetAdmin("ada@example.org", "ada")
	release := fake.Hang(centertest.AdminEmail)
	n := nodetest.Start(t, nodetest.Setup{Center: fake})
	ann := n.User("ann")
	id := ann.Makes(t, "triage", []string{"bob"}, nil).Channel.ID
	want := map[string]string{"ann": "skip author", "bob": "skip not_addressed"}
	for range 2 {
		m := ann.Says(t, id, "hi").Message.ID
		if diff := cmp.Diff(want, ann.Deliveries(t, m)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	if got := fake.Calls(centertest.AdminEmail); got != 1 {
		t.Errorf("got %d questions, want 1: that it failed is kept", got)
	}
	release()
	if got := n.Operate(t, 200); !got.Changed {
		t.Errorf("got %+v, want an admin from here on", got)
	}
}
