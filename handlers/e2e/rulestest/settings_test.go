package rulestest_test

import (
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/handlers/e2e/nodetest"
)

// One request may change several settings of a channel, and every member gets one event.
func TestChannelSettings(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann := n.User("ann")
	made := ann.Makes(t, "general", []string{"bob"}, nil)
	path := "/api/channels/" + made.Channel.ID
	bob := n.User("bob").Resume(t, nodetest.Raw, "", made.Cursor)
	if f := bob.Next(t); f.Event != "stream.live" {
		t.Fatalf("got %s, want stream.live", f.Raw)
	}
	want := made.Channel
	for _, change := range []struct {
		body  nodetest.Body
		apply func()
	}{
		{nodetest.Body{"loopLimit": 3}, func() { want.LoopLimit = 3 }},
		{nodetest.Body{"humanWakes": "mentions"}, func() { want.HumanWakes = "mentions" }},
		{nodetest.Body{"agentWakes": "none", "name": nil}, func() { want.AgentWakes = "none" }},
		{nodetest.Body{"name": "new", "loopLimit": 0, "humanWakes": "all", "agentWakes": "mentions"}, func() {
			want.Name, want.LoopLimit, want.HumanWakes, want.AgentWakes = "new", 0, "all", "mentions"
		}},
	} {
		change.apply()
		got := nodetest.Call[nodetest.Created](t, ann, 200, "PATCH", path, change.body)
		if diff := cmp.Diff(want, got.Channel); diff != "" {
			t.Errorf("%v (-want +got):\n%s", change.body, diff)
		}
		if f := bob.Next(t); f.Event != "channel.updated" || f.ID != got.Cursor {
			t.Errorf("%v: got %s, want channel.updated", change.body, f.Raw)
		}
		again := nodetest.Call[nodetest.Created](t, ann, 200, "PATCH", path, change.body)
		if nodetest.Seq(again.Cursor) > nodetest.Seq(made.Cursor) {
			t.Errorf("%v again: got the cursor %s, want that nothing changed", change.body, again.Cursor)
		}
	}
	if diff := cmp.Diff([]nodetest.Channel{want}, ann.Sync(t).Channels); diff != "" {
		t.Errorf("sync (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want,
		nodetest.Call[nodetest.Roomy](t, ann, 200, "GET", path, nil).Channel); diff != "" {
		t.Errorf("the channel (-want +got):\n%s", diff)
	}
	ready := ann.Open(t, nodetest.Raw, "").Next(t)
	if diff := cmp.Diff(&[]nodetest.Channel{want},
		nodetest.Data[nodetest.ReadyData](t, ready, "stream.ready").Channels); diff != "" {
		t.Errorf("a snapshot (-want +got):\n%s", diff)
	}
	ann.Says(t, made.Channel.ID, "hi")
	if f := bob.Next(t); f.Event != "message.created" {
		t.Errorf("got %s, want one event for each change", f.Raw)
	}
}

func TestSettingsThatAChannelCannotHave(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann, bob := n.User("ann"), n.User("bob")
	general := ann.Makes(t, "general", []string{"bob"}, nil).Channel.ID
	for _, tt := range []struct {
		what   string
		body   nodetest.Body
		status int
		code   string
	}{
		{"nothing", nodetest.Body{}, 400, "malformed"},
		{"only null", nodetest.Body{"name": nil}, 400, "malformed"},
		{"a limit below 0", nodetest.Body{"loopLimit": -1}, 422, "invalid"},
		{"a limit above 200", nodetest.Body{"loopLimit": 201}, 422, "invalid"},
		{"a limit that is no number", nodetest.Body{"loopLimit": "20"}, 400, "malformed"},
		{"half a message", nodetest.Body{"loopLimit": 0.5}, 400, "malformed"},
		{"humans who wake nobody", nodetest.Body{"humanWakes": "none"}, 422, "invalid"},
		{"an unknown bound", nodetest.Body{"agentWakes": "some"}, 422, "invalid"},
		{"an empty bound", nodetest.Body{"agentWakes": ""}, 422, "invalid"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			ann.WantRefused(t, tt.status, tt.code, "PATCH", "/api/channels/"+general, tt.body)
			if tt.status == 422 {
				new := nodetest.Body{"guildId": "g1", "name": "x", "xType": "general"}
				maps.Copy(new, tt.body)
				ann.WantRefused(t, 422, "invalid", "POST", "/api/channels", new)
			}
		})
	}
	bob.WantRefused(t, 403, "not_creator", "PATCH", "/api/channels/"+general, nodetest.Body{"loopLimit": 1})
	for _, xType := range []string{"dm", "discuss", "work"} {
		id := ann.Makes(t, xType, []string{"bob"}, nil).Channel.ID
		for _, field := range []string{"humanWakes", "agentWakes"} {
			ann.WantRefused(t, 422, "invalid", "PATCH", "/api/channels/"+id, nodetest.Body{field: "all"})
		}
		if got := nodetest.Call[nodetest.Created](t, ann, 200, "PATCH", "/api/channels/"+id,
			nodetest.Body{"loopLimit": 5}).Channel.LoopLimit; got != 5 {
			t.Errorf("%s: got the limit %d, want 5", xType, got)
		}
	}
	dm := ann.Makes(t, "dm", []string{"carol"}, nil).Channel.ID
	ann.WantRefused(t, 422, "dm_fixed", "PATCH", "/api/channels/"+dm,
		nodetest.Body{"loopLimit": 1, "name": "us"})
}
