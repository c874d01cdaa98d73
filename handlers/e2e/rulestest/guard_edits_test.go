package rulestest_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/handlers/e2e/nodetest"
)

// An edit changes the text, and nothing by which the message is delivered: not even after its author and the
// settings of its channel have changed.
func TestAnEditKeepsTheFacts(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	fence := n.Fence(t, "cyd")
	ann, bot, cyd := n.User("ann"), n.User("bot"), n.User("cyd")
	n.Agents(t, "bot")
	id := ann.Makes(t, "general", []string{"bot", "cyd"}, nil).Channel.ID
	nodetest.Call[nodetest.Created](t, ann, 200, "PATCH", "/api/channels/"+id,
		nodetest.Body{"loopLimit": 1, "humanWakes": "mentions"})
	from := fence()
	human := ann.Says(t, id, "by a human").Message.ID
	var ids []string
	for _, b := range []nodetest.Body{
		{"content": "wakes"},
		{"content": "trips"},
		{"content": "stopped", "replyTo": human},
		{"content": "notice", "wake": "none"},
	} {
		ids = append(ids, nodetest.Call[nodetest.FullPost](t, bot, 201, "POST", nodetest.PathOf(id),
			b).Message.ID)
	}
	reasons := map[string]string{
		human: "observer not_addressed", ids[0]: "wake everyone", ids[1]: "observer loop_guard",
		ids[2]: "observer loop_guard",
		ids[3]: "observer notice",
	}
	// The count of a run stops at one above the limit, because more make no difference.
	const stored = `SELECT count(*) FROM messages WHERE
		(content LIKE '%by a human%', by_agent, coalesce(agent_run, 0), coalesce(bound, ''),
			coalesce(reply_to_user_id, '')) IN (
			(true, false, 0, 'mentions', ''), (false, true, 1, '', ''), (false, true, 2, 'tripped', ''),
			(false, true, 3, 'loop_guard', 'ann'), (false, true, 2, 'notice', ''))`
	check := func(when string) {
		t.Helper()
		if got := n.Count(t, stored); got != 5 {
			t.Errorf("%s: got %d of the 5 messages with their facts", when, got)
		}
		got := map[string]string{}
		for _, f := range nodetest.InChannel(cyd.Resume(t, nodetest.Raw, "", from).Until(t, fence()), id) {
			if f.Event == "message.created" {
				m := nodetest.Data[nodetest.FullHeard](t, f, "message.created")
				got[m.ID] = map[bool]string{false: "observer ", true: "wake "}[m.Wakeup] + m.WakeReason
			}
		}
		if diff := cmp.Diff(reasons, got); diff != "" {
			t.Errorf("%s: on a stream (-want +got):\n%s", when, diff)
		}
		for message, want := range reasons {
			if got := ann.Deliveries(t, message)["cyd"]; got != want {
				t.Errorf("%s: deliveries say %q, want %q", when, got, want)
			}
		}
	}
	check("before")
	nodetest.Call[nodetest.Created](t, ann, 200, "PATCH", "/api/channels/"+id,
		nodetest.Body{"loopLimit": 0, "humanWakes": "all", "agentWakes": "none"})
	n.Agents(t, "ann")
	ann.Edits(t, human, "by a human, edited <@cyd>")
	for _, message := range ids {
		bot.Edits(t, message, "edited")
	}
	check("after the edits")
}
