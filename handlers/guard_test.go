package handlers_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Everyone hears once that the guard tripped, and only a human lets the agents go on.
func TestTheGuardTripsAndAHumanLetsGo(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	ann, bot := n.user("ann"), n.user("bot")
	n.agents(t, "bot")
	id := ann.makes(t, "general", []string{"bot"}, nil).Channel.ID
	call[created](t, ann, 200, "PATCH", "/api/channels/"+id, body{"loopLimit": 1})
	path := "/api/channels/" + id + "/messages"
	from := ann.says(t, id, "go").Cursor
	s := ann.resume(t, raw, "", from)
	counts := []int{bot.says(t, id, "one").WakeupCount, bot.says(t, id, "two").WakeupCount, bot.says(t, id, "three").WakeupCount}
	bot.wantRefused(t, 403, "not_human", "POST", path, body{"content": "/go"})
	if got := call[commandDone](t, ann, 200, "POST", path, body{"content": "/go"}); got.Command != "go" {
		t.Errorf("got %+v, want the command", got)
	}
	last := bot.says(t, id, "four")
	if diff := cmp.Diff([]int{1, 0, 0, 1}, append(counts, last.WakeupCount)); diff != "" {
		t.Errorf("wakeups (-want +got):\n%s", diff)
	}
	var names []string
	for _, f := range here(s.until(t, last.Cursor), id) {
		names = append(names, f.event)
	}
	want := []string{"message.created", "message.created", "guard.tripped", "message.created", "message.created"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestHintsAndFreshPosts(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	ann, bob := n.user("ann"), n.user("bob")
	n.exec(t, `INSERT INTO users (id, display_name) VALUES ('bob', 'Bob the Builder')`)
	id := ann.makes(t, "general", []string{"bob", "cyd"}, nil).Channel.ID
	path := "/api/channels/" + id + "/messages"
	for _, tt := range []struct {
		body  body
		hints map[string][]string
	}{
		{body{"content": "hi @bob, @cyd"}, map[string][]string{"plain_mention": {"bob", "cyd"}}},
		{body{"content": "hi @bob the builder"}, map[string][]string{"plain_mention": {"bob"}}},
		{body{"content": "hi <@bob> `@cyd` cyd@bob"}, map[string][]string{}},
		{body{"content": "hi @bob", "mentionUserIds": []string{"bob"}}, map[string][]string{}},
		{body{"content": "hi <@cyd>", "mentionUserIds": []string{"str", "bob"}}, map[string][]string{"not_a_member": {"str"}}},
		{body{"content": "hi <@cyd>", "mentionUserIds": []string{}}, map[string][]string{"wakes_everyone": nil}},
		{body{"content": "hi @bob", "wake": "none"}, map[string][]string{}},
	} {
		post := call[fullPost](t, ann, 201, "POST", path, tt.body)
		got := map[string][]string{}
		for _, h := range post.Hints {
			got[h.Code] = h.UserIDs
		}
		if diff := cmp.Diff(tt.hints, got); diff != "" {
			t.Errorf("%v: hints (-want +got):\n%s", tt.body, diff)
		}
	}
	last := ann.says(t, id, "who knows?").Message.ID
	call[fullPost](t, bob, 201, "POST", path, body{"content": "I do", "ifLast": last})
	p := n.user("cyd").refused(t, 409, "conversation_moved", "POST", path, body{"content": "me too", "ifLast": last})
	if got := p.Messages; len(got) != 1 || got[0].Content != "I do" {
		t.Errorf("got the messages %+v, want the newer one", got)
	}
	ann.wantRefused(t, 422, "invalid", "POST", path, body{"content": "x", "ifLast": id})
	ann.wantRefused(t, 422, "invalid", "POST", path, body{"content": "x", "wake": "all"})
	ann.wantRefused(t, 422, "invalid", "POST", path, body{"content": "/pass", "wake": "none"})
}
