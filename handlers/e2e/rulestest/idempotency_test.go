package rulestest_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers/e2e/nodetest"
)

func TestARequestWithAKeyIsDoneOnce(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann := n.User("ann")
	general := "/api/channels/" + ann.General(t, "ops", "bob").Channel.ID + "/messages"
	discuss := ann.Makes(t, "discuss", []string{"bob"}, nil).Channel.ID
	for name, tt := range map[string]struct {
		path   string
		body   nodetest.Body
		status int
		events int
	}{
		"a message":           {general, nodetest.Body{"content": "hi"}, 201, 1},
		"a message with more": {general, nodetest.Body{"content": "<@user.id:bob>", "replyTo": nil}, 201, 1},
		"in a turn channel": {
			"/api/channels/" + discuss + "/messages",
			nodetest.Body{"content": "hi"},
			201, 1,
		},
		"a command": {"/api/channels/" + discuss + "/messages", nodetest.Body{"content": "/pass"}, 200, 1},
		"help":      {general, nodetest.Body{"content": "/help"}, 200, 0},
		"a channel": {
			"/api/channels",
			nodetest.Body{"guildId": "g1", "name": "c", "xType": "report"},
			201, 1,
		},
		"a dm": {
			"/api/channels",
			nodetest.Body{"guildId": "g1", "xType": "dm", "memberUserIds": []string{"bob"}},
			201, 1,
		},
	} {
		before := n.Count(t, `SELECT count(*) FROM events`)
		a := ann.Twice(t, tt.path, name, tt.body, name, `"`+name+`"`)
		if a.Status != tt.status {
			t.Errorf("%s: got %v, want %d", name, a, tt.status)
		}
		if got := n.Count(t, `SELECT count(*) FROM events`) - before; got != tt.events {
			t.Errorf("%s: got %d events, want %d", name, got, tt.events)
		}
	}
	// The dm is there already: that too is answered again as it was.
	ann.Twice(t, "/api/channels", `"dm 2"`,
		nodetest.Body{"guildId": "g1", "xType": "dm", "memberUserIds": []string{"bob"}}, "dm 2")
}

func TestTwelveRequestsAtOnceWithOneKey(t *testing.T) {
	dbtest.Long(t) // TestARequestWithAKeyIsDoneOnce is fast
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann := n.User("ann")
	triage := ann.Makes(t, "triage", []string{"bob"}, nil).Channel.ID
	work := ann.Makes(t, "work", []string{"bob"}, nil).Channel.ID
	for name, tt := range map[string]struct {
		path string
		body any
	}{
		"messages": {"/api/channels/" + triage + "/messages", nodetest.Body{"content": "<@bob>"}},
		"turns":    {"/api/channels/" + work + "/messages", nodetest.Body{"content": "hi"}},
		"commands": {"/api/channels/" + work + "/messages", nodetest.Body{"content": "/pass"}},
		"channels": {"/api/channels", nodetest.Body{"guildId": "g1", "name": "one", "xType": "custom"}},
		"dms": {
			"/api/channels",
			nodetest.Body{"guildId": "g1", "xType": "dm", "memberUserIds": []string{"bob"}},
		},
		"messages again": {"/api/channels/" + triage + "/messages", nodetest.Body{"content": "again"}},
	} {
		before := n.Count(t, `SELECT count(*) FROM events`)
		answers := make([]nodetest.Answer, 12)
		var sending sync.WaitGroup
		for i := range answers {
			sending.Go(func() {
				var err error
				if answers[i], err = ann.Do("POST", tt.path, tt.body, "Idempotency-Key", name); err != nil {
					t.Error(err)
				}
			})
		}
		sending.Wait()
		first, replays, conflicts := "", map[string]int{}, 0
		for _, a := range answers {
			switch {
			case a.Status == 409:
				if a.Header.Get("Retry-After") != "1" ||
					!strings.Contains(string(a.Body), `"idempotency_in_flight"`) {
					t.Errorf("%s: got %v, %v, want one to be sent again", name, a, a.Header)
				}
				conflicts++
			case a.Header.Get("Idempotency-Replayed") == "true":
				replays[a.String()]++
			case first == "" && a.Status/100 == 2:
				first = a.String()
			default:
				t.Errorf("%s: got %v, want only one of this kind", name, a)
			}
		}
		if first == "" || conflicts+replays[first] != 11 {
			t.Errorf("%s: got the answer %s, %d conflicts and %v, want a replay or a conflict of all others",
				name, first, conflicts, replays)
		}
		if got := n.Count(t, `SELECT count(*) FROM events`) - before; got != 1 {
			t.Errorf("%s: got %d events, want 1", name, got)
		}
	}
}

func TestTheScopeOfAKey(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann, bob := n.User("ann"), n.User("bob")
	one, two := ann.General(t, "one", "bob").Channel.ID, ann.General(t, "two", "bob").Channel.ID
	path := func(channel string) string { return "/api/channels/" + channel + "/messages" }
	b := nodetest.Body{"content": "hi"}
	ann.Twice(t, path(one), "k", b)
	bob.Twice(t, path(one), "k", b) // another user
	ann.Twice(t, path(two), "k", b) // another route
	ann.Twice(t, "/api/channels", "k", nodetest.Body{"guildId": "g1", "name": "k", "xType": "general"})
	ann.Twice(t, path(one), "K", b) // another key
	for _, other := range []any{
		nodetest.Body{"content": "other"},
		nodetest.Body{"content": "hi", "replyTo": one},
		nodetest.Body{"content": "hi "},
		nodetest.Body{"content": "/help"},
	} {
		ann.WantRefused(t, 422, "idempotency_key_reused", "POST", path(one), other, "Idempotency-Key", `"k"`)
	}
	if a, err := ann.Do("POST", path(one), ` { "replyTo":null, "content" : "\u0068i" } `, "Idempotency-Key",
		"k"); err != nil || a.Header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("got %v and error %v, want a replay: it says the same", a, err)
	}
	if a, err := ann.Do("POST", path(strings.ToUpper(one)), b, "Idempotency-Key", "k"); err != nil ||
		a.Header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("got %v and error %v, want a replay: it is the same channel", a, err)
	}
	if got := n.Count(t, `SELECT count(*) FROM messages`); got != 4 {
		t.Errorf("got %d messages, want 4", got)
	}
	for _, key := range []string{
		`"`, `""`, `"a`, `a"`, `a"b`, `"a"b"`, `a\b`, `"a", "b"`, "é",
		strings.Repeat("k", 256), `"` + strings.Repeat("k", 256) + `"`, `"k";p=1`,
	} {
		ann.WantRefused(t, 400, "idempotency_key_malformed", "POST", path(one), b, "Idempotency-Key", key)
	}
	ann.Twice(t, path(one), strings.Repeat("k", 255), b, `"`+strings.Repeat("k", 255)+`"`)
	ann.Twice(t, path(one), "a b;c=~!", b)
}

// A refused request has done nothing. The same key may be used again, also with another body.
func TestAFailedRequestIsNotRemembered(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann, bob := n.User("ann"), n.User("bob")
	id := ann.General(t, "ops").Channel.ID
	work := ann.Makes(t, "work", nil, nil).Channel.ID
	path := "/api/channels/" + id + "/messages"
	for i, tt := range []struct {
		who          *nodetest.User
		path         string
		status       int
		code         string
		body, better nodetest.Body
		between      func()
	}{
		{
			bob, path, 403, "not_member",
			nodetest.Body{"content": "hi"},
			nodetest.Body{"content": "hi"},
			func() { bob.Join(t, id) },
		},
		{
			ann, path, 422, "invalid",
			nodetest.Body{"content": "hi", "replyTo": id},
			nodetest.Body{"content": "hi"},
			nil,
		},
		{
			ann, path, 422, "command_invalid",
			nodetest.Body{"content": "/nope"},
			nodetest.Body{"content": "//nope"},
			nil,
		},
		{
			ann, path, 422, "no_turns",
			nodetest.Body{"content": "/pass"},
			nodetest.Body{"content": "pass"},
			nil,
		},
		{
			bob, "/api/channels/" + work + "/messages", 403, "not_member",
			nodetest.Body{"content": "/pass"},
			nodetest.Body{"content": "/pass"},
			func() { bob.Join(t, work) },
		},
		{
			ann, "/api/channels", 422, "invalid",
			nodetest.Body{"guildId": "g1", "name": "", "xType": "general"},
			nodetest.Body{"guildId": "g1", "name": "n", "xType": "general"},
			nil,
		},
	} {
		key := fmt.Sprint("key", i)
		tt.who.WantRefused(t, tt.status, tt.code, "POST", tt.path, tt.body, "Idempotency-Key", key)
		if tt.between != nil {
			tt.between()
		}
		tt.who.Twice(t, tt.path, key, tt.better)
	}
	secret := ann.Create(t, nodetest.NewChannel{
		GuildID: "g1", Name: "p", XType: "general",
		Private: true,
	}).Channel.ID
	bob.WantRefused(t, 404, "channel_not_found", "POST", "/api/channels/"+secret+"/messages",
		nodetest.Body{"content": "hi"}, "Idempotency-Key", "s")
	ann.Add(t, secret, "bob")
	bob.Twice(t, "/api/channels/"+secret+"/messages", "s", nodetest.Body{"content": "hi"})
}

// A key is remembered over a restart, and forgotten after a day.
func TestAKeyIsRememberedForADay(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann := n.User("ann")
	id := ann.General(t, "ops", "bob").Channel.ID
	path, b := "/api/channels/"+id+"/messages", nodetest.Body{"content": "hi"}
	first := ann.Twice(t, path, "k", b)
	n.Stop()
	n = nodetest.Start(t, nodetest.Setup{Database: n.Database, State: n.State})
	ann = ann.At(n)
	replay := func() nodetest.Answer {
		t.Helper()
		a, err := ann.Do("POST", path, b, "Idempotency-Key", "k")
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	if a := replay(); a.String() != first.String() || a.Header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("after a restart: got %v, want %v", a, first)
	}
	// The answer is for who may see it: not while they are no member.
	ann.Leave(t, id)
	ann.WantRefused(t, 403, "not_member", "POST", path, b, "Idempotency-Key", "k")
	ann.Join(t, id)
	age := func(by string) {
		n.Exec(t, `UPDATE idempotency_keys SET created_at = now() - $1::interval`, by)
	}
	sweep := func(want int64) {
		t.Helper()
		if got, err := n.DB.SweepKeys(t.Context()); err != nil || got != want {
			t.Errorf("got %d swept and error %v, want %d", got, err, want)
		}
	}
	age("23 hours 59 minutes")
	sweep(0)
	if a := replay(); a.String() != first.String() {
		t.Errorf("within the day: got %v, want %v", a, first)
	}
	age("24 hours 1 second")
	if a := replay(); a.Status != 201 || a.String() == first.String() ||
		a.Header.Get("Idempotency-Replayed") != "" {
		t.Errorf("after a day: got %v, want a new message", a)
	}
	if a := replay(); a.Header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("and again: got %v, want a replay", a)
	}
	sweep(0)
	age("25 hours")
	sweep(1)
	if got := n.Count(t, `SELECT count(*) FROM messages`); got != 2 {
		t.Errorf("got %d messages, want 2", got)
	}
}
