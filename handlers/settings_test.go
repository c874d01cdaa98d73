package handlers_test

import (
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// One request changes any part of a channel, and everybody hears of it once.
func TestChannelSettings(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	ann := n.user("ann")
	made := ann.makes(t, "general", []string{"bob"}, nil)
	path := "/api/channels/" + made.Channel.ID
	bob := n.user("bob").resume(t, raw, "", made.Cursor)
	if f := bob.next(t); f.event != "stream.live" {
		t.Fatalf("got %s, want stream.live", f.raw)
	}
	want := made.Channel
	for _, change := range []struct {
		body  body
		apply func()
	}{
		{body{"loopLimit": 3}, func() { want.LoopLimit = 3 }},
		{body{"humanWakes": "mentions"}, func() { want.HumanWakes = "mentions" }},
		{body{"agentWakes": "none", "name": nil}, func() { want.AgentWakes = "none" }},
		{body{"name": "new", "loopLimit": 0, "humanWakes": "all", "agentWakes": "mentions"}, func() {
			want.Name, want.LoopLimit, want.HumanWakes, want.AgentWakes = "new", 0, "all", "mentions"
		}},
	} {
		change.apply()
		got := call[created](t, ann, 200, "PATCH", path, change.body)
		if diff := cmp.Diff(want, got.Channel); diff != "" {
			t.Errorf("%v (-want +got):\n%s", change.body, diff)
		}
		if f := bob.next(t); f.event != "channel.updated" || f.id != got.Cursor {
			t.Errorf("%v: got %s, want channel.updated", change.body, f.raw)
		}
		again := call[created](t, ann, 200, "PATCH", path, change.body)
		if seq(again.Cursor) > seq(made.Cursor) {
			t.Errorf("%v again: got the cursor %s, want that nothing changed", change.body, again.Cursor)
		}
	}
	if diff := cmp.Diff([]channel{want}, ann.sync(t).Channels); diff != "" {
		t.Errorf("sync (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, call[roomy](t, ann, 200, "GET", path, nil).Channel); diff != "" {
		t.Errorf("the channel (-want +got):\n%s", diff)
	}
	ready := ann.open(t, raw, "").next(t)
	if diff := cmp.Diff(&[]channel{want}, data[readyData](t, ready, "stream.ready").Channels); diff != "" {
		t.Errorf("a snapshot (-want +got):\n%s", diff)
	}
	ann.says(t, made.Channel.ID, "hi")
	if f := bob.next(t); f.event != "message.created" {
		t.Errorf("got %s, want one event for each change", f.raw)
	}
}

func TestSettingsThatAChannelCannotHave(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	ann, bob := n.user("ann"), n.user("bob")
	general := ann.makes(t, "general", []string{"bob"}, nil).Channel.ID
	for _, tt := range []struct {
		what   string
		body   body
		status int
		code   string
	}{
		{"nothing", body{}, 400, "malformed"},
		{"only null", body{"name": nil}, 400, "malformed"},
		{"a limit below 0", body{"loopLimit": -1}, 422, "invalid"},
		{"a limit above 200", body{"loopLimit": 201}, 422, "invalid"},
		{"a limit that is no number", body{"loopLimit": "20"}, 400, "malformed"},
		{"half a message", body{"loopLimit": 0.5}, 400, "malformed"},
		{"humans who wake nobody", body{"humanWakes": "none"}, 422, "invalid"},
		{"an unknown bound", body{"agentWakes": "some"}, 422, "invalid"},
		{"an empty bound", body{"agentWakes": ""}, 422, "invalid"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			ann.wantRefused(t, tt.status, tt.code, "PATCH", "/api/channels/"+general, tt.body)
			if tt.status == 422 {
				new := body{"guildId": "g1", "name": "x", "xType": "general"}
				maps.Copy(new, tt.body)
				ann.wantRefused(t, 422, "invalid", "POST", "/api/channels", new)
			}
		})
	}
	bob.wantRefused(t, 403, "not_creator", "PATCH", "/api/channels/"+general, body{"loopLimit": 1})
	for _, xType := range []string{"dm", "discuss", "work"} {
		id := ann.makes(t, xType, []string{"bob"}, nil).Channel.ID
		for _, field := range []string{"humanWakes", "agentWakes"} {
			ann.wantRefused(t, 422, "invalid", "PATCH", "/api/channels/"+id, body{field: "all"})
		}
		if got := call[created](t, ann, 200, "PATCH", "/api/channels/"+id, body{"loopLimit": 5}).Channel.LoopLimit; got != 5 {
			t.Errorf("%s: got the limit %d, want 5", xType, got)
		}
	}
	dm := ann.makes(t, "dm", []string{"carol"}, nil).Channel.ID
	ann.wantRefused(t, 422, "dm_fixed", "PATCH", "/api/channels/"+dm, body{"loopLimit": 1, "name": "us"})
}
