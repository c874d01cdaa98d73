package rulestest_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/handlers/e2e/nodetest"
)

// Everyone hears once that the guard tripped, and only a human lets the agents go on.
func TestTheGuardTripsAndAHumanLetsGo(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann, bot := n.User("ann"), n.User("bot")
	n.Agents(t, "bot")
	id := ann.Makes(t, "general", []string{"bot"}, nil).Channel.ID
	nodetest.Call[nodetest.Created](t, ann, 200, "PATCH", "/api/channels/"+id, nodetest.Body{"loopLimit": 1})
	path := "/api/channels/" + id + "/messages"
	from := ann.Says(t, id, "go").Cursor
	s := ann.Resume(t, nodetest.Raw, "", from)
	counts := []int{
		bot.Says(t, id, "one").WakeupCount, bot.Says(t, id, "two").WakeupCount,
		bot.Says(t, id, "three").WakeupCount,
	}
	bot.WantRefused(t, 403, "not_human", "POST", path, nodetest.Body{"content": "/go"})
	if got := nodetest.Call[nodetest.CommandDone](t, ann, 200, "POST", path,
		nodetest.Body{"content": "/go"}); got.Command != "go" {
		t.Errorf("got %+v, want the command", got)
	}
	last := bot.Says(t, id, "four")
	if diff := cmp.Diff([]int{1, 0, 0, 1}, append(counts, last.WakeupCount)); diff != "" {
		t.Errorf("wakeups (-want +got):\n%s", diff)
	}
	var names []string
	for _, f := range nodetest.InChannel(s.Until(t, last.Cursor), id) {
		names = append(names, f.Event)
	}
	want := []string{
		"message.created", "message.created", "guard.tripped", "message.created",
		"message.created",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestHintsAndFreshPosts(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann, bob := n.User("ann"), n.User("bob")
	n.Exec(t, `INSERT INTO users (id, display_name) VALUES ('bob', 'Bob the Builder')`)
	id := ann.Makes(t, "general", []string{"bob", "cyd"}, nil).Channel.ID
	path := "/api/channels/" + id + "/messages"
	for _, tt := range []struct {
		body  nodetest.Body
		hints map[string][]string
	}{
		{nodetest.Body{"content": "hi @bob, @cyd"}, map[string][]string{"plain_mention": {"bob", "cyd"}}},
		{nodetest.Body{"content": "hi @bob the builder"}, map[string][]string{"plain_mention": {"bob"}}},
		{nodetest.Body{"content": "hi <@bob> `@cyd` cyd@bob"}, map[string][]string{}},
		{nodetest.Body{"content": "hi @bob", "mentionUserIds": []string{"bob"}}, map[string][]string{}},
		{
			nodetest.Body{"content": "hi <@cyd>", "mentionUserIds": []string{"str", "bob"}},
			map[string][]string{"not_a_member": {"str"}},
		},
		{
			nodetest.Body{"content": "hi <@cyd>", "mentionUserIds": []string{}},
			map[string][]string{"wakes_everyone": nil},
		},
		{nodetest.Body{"content": "hi @bob", "wake": "none"}, map[string][]string{}},
	} {
		post := nodetest.Call[nodetest.FullPost](t, ann, 201, "POST", path, tt.body)
		got := map[string][]string{}
		for _, h := range post.Hints {
			got[h.Code] = h.UserIDs
		}
		if diff := cmp.Diff(tt.hints, got); diff != "" {
			t.Errorf("%v: hints (-want +got):\n%s", tt.body, diff)
		}
	}
	last := ann.Says(t, id, "who knows?").Message.ID
	nodetest.Call[nodetest.FullPost](t, bob, 201, "POST", path,
		nodetest.Body{"content": "I do", "ifLast": last})
	p := n.User("cyd").Refused(t, 409, "conversation_moved", "POST", path,
		nodetest.Body{"content": "me too", "ifLast": last})
	if got := p.Messages; len(got) != 1 || got[0].Content != "I do" {
		t.Errorf("got the messages %+v, want the newer one", got)
	}
	ann.WantRefused(t, 422, "invalid", "POST", path, nodetest.Body{"content": "x", "ifLast": id})
	ann.WantRefused(t, 422, "invalid", "POST", path, nodetest.Body{"content": "x", "wake": "all"})
	ann.WantRefused(t, 422, "invalid", "POST", path, nodetest.Body{"content": "/pass", "wake": "none"})
}
