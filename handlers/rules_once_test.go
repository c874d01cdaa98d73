package handlers_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// twice sends a request two times, and wants the second to be answered as the first, marked as a replay.
func (u *user) twice(t *testing.T, path, key string, b any, again ...string) answer {
	t.Helper()
	if len(again) == 0 {
		again = []string{key}
	}
	first, err := u.do("POST", path, b, "Idempotency-Key", key)
	if err != nil || first.status/100 != 2 || first.header.Get("Idempotency-Replayed") != "" {
		t.Fatalf("%s: got %v, %v and error %v, want it done", path, first, first.header, err)
	}
	for _, key := range again {
		second, err := u.do("POST", path, b, "Idempotency-Key", key)
		if err != nil || second.String() != first.String() || second.header.Get("Idempotency-Replayed") != "true" ||
			second.header.Get("Content-Type") != first.header.Get("Content-Type") {
			t.Errorf("%s, key %s: got %v, %v and error %v, want a replay of %v", path, key, second, second.header, err, first)
		}
	}
	return first
}

func TestARequestWithAKeyIsDoneOnce(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	ann := n.user("ann")
	general := "/api/channels/" + ann.general(t, "ops", "bob").Channel.ID + "/messages"
	discuss := ann.makes(t, "discuss", []string{"bob"}, nil).Channel.ID
	for name, tt := range map[string]struct {
		path   string
		body   body
		status int
		events int
	}{
		"a message":           {general, body{"content": "hi"}, 201, 1},
		"a message with more": {general, body{"content": "<@user.id:bob>", "replyTo": nil}, 201, 1},
		"in a turn channel":   {"/api/channels/" + discuss + "/messages", body{"content": "hi"}, 201, 1},
		"a command":           {"/api/channels/" + discuss + "/messages", body{"content": "/pass"}, 200, 1},
		"help":                {general, body{"content": "/help"}, 200, 0},
		"a channel":           {"/api/channels", body{"guildId": "g1", "name": "c", "xType": "report"}, 201, 1},
		"a dm":                {"/api/channels", body{"guildId": "g1", "xType": "dm", "memberUserIds": []string{"bob"}}, 201, 1},
	} {
		before := n.count(t, `SELECT count(*) FROM events`)
		a := ann.twice(t, tt.path, name, tt.body, name, `"`+name+`"`)
		if a.status != tt.status {
			t.Errorf("%s: got %v, want %d", name, a, tt.status)
		}
		if got := n.count(t, `SELECT count(*) FROM events`) - before; got != tt.events {
			t.Errorf("%s: got %d events, want %d", name, got, tt.events)
		}
	}
	// The dm is there already: that too is answered again as it was.
	ann.twice(t, "/api/channels", `"dm 2"`, body{"guildId": "g1", "xType": "dm", "memberUserIds": []string{"bob"}}, "dm 2")
}

func TestTwelveRequestsAtOnceWithOneKey(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	ann := n.user("ann")
	triage := ann.makes(t, "triage", []string{"bob"}, nil).Channel.ID
	work := ann.makes(t, "work", []string{"bob"}, nil).Channel.ID
	for name, tt := range map[string]struct {
		path string
		body any
	}{
		"messages":       {"/api/channels/" + triage + "/messages", body{"content": "<@bob>"}},
		"turns":          {"/api/channels/" + work + "/messages", body{"content": "hi"}},
		"commands":       {"/api/channels/" + work + "/messages", body{"content": "/pass"}},
		"channels":       {"/api/channels", body{"guildId": "g1", "name": "one", "xType": "custom"}},
		"dms":            {"/api/channels", body{"guildId": "g1", "xType": "dm", "memberUserIds": []string{"bob"}}},
		"messages again": {"/api/channels/" + triage + "/messages", body{"content": "again"}},
	} {
		before := n.count(t, `SELECT count(*) FROM events`)
		answers := make([]answer, 12)
		var sending sync.WaitGroup
		for i := range answers {
			sending.Go(func() {
				var err error
				if answers[i], err = ann.do("POST", tt.path, tt.body, "Idempotency-Key", name); err != nil {
					t.Error(err)
				}
			})
		}
		sending.Wait()
		first, replays, conflicts := "", map[string]int{}, 0
		for _, a := range answers {
			switch {
			case a.status == 409:
				if a.header.Get("Retry-After") != "1" || !strings.Contains(string(a.body), `"idempotency_in_flight"`) {
					t.Errorf("%s: got %v, %v, want one to be sent again", name, a, a.header)
				}
				conflicts++
			case a.header.Get("Idempotency-Replayed") == "true":
				replays[a.String()]++
			case first == "" && a.status/100 == 2:
				first = a.String()
			default:
				t.Errorf("%s: got %v, want only one of this kind", name, a)
			}
		}
		if first == "" || conflicts+replays[first] != 11 {
			t.Errorf("%s: got the answer %s, %d conflicts and %v, want a replay or a conflict of all others", name, first, conflicts, replays)
		}
		if got := n.count(t, `SELECT count(*) FROM events`) - before; got != 1 {
			t.Errorf("%s: got %d events, want 1", name, got)
		}
	}
}

func TestTheScopeOfAKey(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	ann, bob := n.user("ann"), n.user("bob")
	one, two := ann.general(t, "one", "bob").Channel.ID, ann.general(t, "two", "bob").Channel.ID
	path := func(channel string) string { return "/api/channels/" + channel + "/messages" }
	b := body{"content": "hi"}
	ann.twice(t, path(one), "k", b)
	bob.twice(t, path(one), "k", b) // another user
	ann.twice(t, path(two), "k", b) // another route
	ann.twice(t, "/api/channels", "k", body{"guildId": "g1", "name": "k", "xType": "general"})
	ann.twice(t, path(one), "K", b) // another key
	for _, other := range []any{body{"content": "other"}, body{"content": "hi", "replyTo": one}, body{"content": "hi "}, body{"content": "/help"}} {
		ann.wantRefused(t, 422, "idempotency_key_reused", "POST", path(one), other, "Idempotency-Key", `"k"`)
	}
	if a, err := ann.do("POST", path(one), ` { "replyTo":null, "content" : "\u0068i" } `, "Idempotency-Key", "k"); err != nil || a.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("got %v and error %v, want a replay: it says the same", a, err)
	}
	if a, err := ann.do("POST", path(strings.ToUpper(one)), b, "Idempotency-Key", "k"); err != nil || a.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("got %v and error %v, want a replay: it is the same channel", a, err)
	}
	if got := n.count(t, `SELECT count(*) FROM messages`); got != 4 {
		t.Errorf("got %d messages, want 4", got)
	}
	for _, key := range []string{`"`, `""`, `"a`, `a"`, `a"b`, `"a"b"`, `a\b`, `"a", "b"`, "é", strings.Repeat("k", 256), `"` + strings.Repeat("k", 256) + `"`, `"k";p=1`} {
		ann.wantRefused(t, 400, "idempotency_key_malformed", "POST", path(one), b, "Idempotency-Key", key)
	}
	ann.twice(t, path(one), strings.Repeat("k", 255), b, `"`+strings.Repeat("k", 255)+`"`)
	ann.twice(t, path(one), "a b;c=~!", b)
}

// What was refused has done nothing: with the same key it is tried again, with another body too.
func TestAFailedRequestIsNotRemembered(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	ann, bob := n.user("ann"), n.user("bob")
	id := ann.general(t, "ops").Channel.ID
	work := ann.makes(t, "work", nil, nil).Channel.ID
	path := "/api/channels/" + id + "/messages"
	for i, tt := range []struct {
		who          *user
		path         string
		status       int
		code         string
		body, better body
		between      func()
	}{
		{bob, path, 403, "not_member", body{"content": "hi"}, body{"content": "hi"}, func() { bob.join(t, id) }},
		{ann, path, 422, "invalid", body{"content": "hi", "replyTo": id}, body{"content": "hi"}, nil},
		{ann, path, 422, "command_invalid", body{"content": "/nope"}, body{"content": "//nope"}, nil},
		{ann, path, 422, "no_turns", body{"content": "/pass"}, body{"content": "pass"}, nil},
		{bob, "/api/channels/" + work + "/messages", 403, "not_member", body{"content": "/pass"}, body{"content": "/pass"}, func() { bob.join(t, work) }},
		{ann, "/api/channels", 422, "invalid", body{"guildId": "g1", "name": "", "xType": "general"}, body{"guildId": "g1", "name": "n", "xType": "general"}, nil},
	} {
		key := fmt.Sprint("key", i)
		tt.who.wantRefused(t, tt.status, tt.code, "POST", tt.path, tt.body, "Idempotency-Key", key)
		if tt.between != nil {
			tt.between()
		}
		tt.who.twice(t, tt.path, key, tt.better)
	}
	secret := ann.create(t, newChannel{GuildID: "g1", Name: "p", XType: "general", Private: true}).Channel.ID
	bob.wantRefused(t, 404, "channel_not_found", "POST", "/api/channels/"+secret+"/messages", body{"content": "hi"}, "Idempotency-Key", "s")
	ann.add(t, secret, "bob")
	bob.twice(t, "/api/channels/"+secret+"/messages", "s", body{"content": "hi"})
}

// A key outlives the node, and is forgotten after a day.
func TestAKeyIsRememberedForADay(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	ann := n.user("ann")
	id := ann.general(t, "ops", "bob").Channel.ID
	path, b := "/api/channels/"+id+"/messages", body{"content": "hi"}
	first := ann.twice(t, path, "k", b)
	n.stop()
	n = start(t, setup{database: n.database, state: n.state})
	ann = ann.at(n)
	replay := func() answer {
		t.Helper()
		a, err := ann.do("POST", path, b, "Idempotency-Key", "k")
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	if a := replay(); a.String() != first.String() || a.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("after a restart: got %v, want %v", a, first)
	}
	// The answer is for who may see it: not while they are no member.
	ann.leave(t, id)
	ann.wantRefused(t, 403, "not_member", "POST", path, b, "Idempotency-Key", "k")
	ann.join(t, id)
	age := func(by string) {
		n.exec(t, `UPDATE idempotency_keys SET created_at = now() - $1::interval`, by)
	}
	sweep := func(want int64) {
		t.Helper()
		if got, err := n.db.SweepKeys(t.Context()); err != nil || got != want {
			t.Errorf("got %d swept and error %v, want %d", got, err, want)
		}
	}
	age("23 hours 59 minutes")
	sweep(0)
	if a := replay(); a.String() != first.String() {
		t.Errorf("within the day: got %v, want %v", a, first)
	}
	age("24 hours 1 second")
	if a := replay(); a.status != 201 || a.String() == first.String() || a.header.Get("Idempotency-Replayed") != "" {
		t.Errorf("after a day: got %v, want a new message", a)
	}
	if a := replay(); a.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("and again: got %v, want a replay", a)
	}
	sweep(0)
	age("25 hours")
	sweep(1)
	if got := n.count(t, `SELECT count(*) FROM messages`); got != 2 {
		t.Errorf("got %d messages, want 2", got)
	}
}
