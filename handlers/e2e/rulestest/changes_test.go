package rulestest_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/db/dbtest"
	"fabric-guild/events/ssetest"
	"fabric-guild/handlers/e2e/nodetest"
)

func TestWhoMayChangeAMessage(t *testing.T) {
	dbtest.Long(t) // TestWhoMayWhat is fast
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	pam, ann, bob, str := n.User("pam"), n.User("ann"), n.User("bob"), n.User("str")
	id := pam.Create(t, nodetest.NewChannel{
		GuildID: "g1", Name: "ops", XType: "general", Private: true,
		Members: []string{"ann", "bob"},
	}).Channel.ID
	open := pam.General(t, "open", "ann").Channel.ID
	m, gone, public := ann.Says(t, id, "hi").Message.ID, ann.Says(t, id, "gone").Message.ID,
		ann.Says(t, open, "hi").Message.ID
	ann.Deletes(t, gone)
	n.User("late").Join(t, open)
	before := n.Count(t, `SELECT count(*) FROM events`)
	const nobody = "/api/messages/00000000-0000-7000-8000-000000000000"
	for _, tt := range []struct {
		name         string
		who          *nodetest.User
		method, path string
		content      string
		status       int
		code         string
	}{
		{"another member edits", bob, "PATCH", "/api/messages/" + m, "mine", 403, "not_author"},
		{"the creator edits", pam, "PATCH", "/api/messages/" + m, "mine", 403, "not_author"},
		{"another member deletes", bob, "DELETE", "/api/messages/" + m, "", 403, "not_author"},
		{"a stranger edits", str, "PATCH", "/api/messages/" + m, "mine", 404, "message_not_found"},
		{"a stranger deletes", str, "DELETE", "/api/messages/" + m, "", 404, "message_not_found"},
		{
			"a stranger edits in a channel that they could join", str, "PATCH", "/api/messages/" + public,
			"mine", 404, "message_not_found",
		},
		{
			"a stranger asks who heard it", str, "GET", "/api/messages/" + m + "/deliveries", "", 404,
			"message_not_found",
		},
		{
			"who joined later edits", n.User("late"), "PATCH", "/api/messages/" + public, "mine", 404,
			"message_not_found",
		},
		{
			"another guild's token", n.User("ann", "g2"), "PATCH", "/api/messages/" + m, "mine", 404,
			"message_not_found",
		},
		{"no such message", ann, "PATCH", nobody, "mine", 404, "message_not_found"},
		{"no such message to delete", ann, "DELETE", nobody, "", 404, "message_not_found"},
		{"no id", ann, "DELETE", "/api/messages/x", "", 404, "message_not_found"},
		{"a deleted one is edited", ann, "PATCH", "/api/messages/" + gone, "again", 409, "message_deleted"},
		{"an empty text", ann, "PATCH", "/api/messages/" + m, " \n", 422, "invalid"},
		{"a NUL", ann, "PATCH", "/api/messages/" + m, "a\x00b", 422, "invalid"},
	} {
		var b any
		if tt.method == "PATCH" {
			b = nodetest.Body{"content": tt.content}
		}
		t.Run(tt.name, func(t *testing.T) {
			tt.who.WantRefused(t, tt.status, tt.code, tt.method, tt.path, b)
		})
	}
	if got := n.Count(t, `SELECT count(*) FROM events`); got != before {
		t.Errorf("got %d events, want the %d that were there", got, before)
	}
	if got := ann.History(t, open); !cmp.Equal(got, []string{"hi"}) {
		t.Errorf("got %q, want it as it was", got)
	}
}

func TestAChangeThatChangesNothingHasNoEvent(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	pam, ann := n.User("pam"), n.User("ann")
	joined := pam.General(t, "ops", "ann")
	id := joined.Channel.ID
	one, two := ann.Says(t, id, "one").Message.ID, ann.Says(t, id, "two").Message.ID
	events := func() int { return n.Count(t, `SELECT count(*) FROM events`) }
	before := events()
	if got := ann.Edits(t, one, "one"); got.Message.EditedAt != "" ||
		nodetest.Seq(got.Cursor) > nodetest.Seq(joined.Cursor) || events() != before {
		t.Errorf("the same text: got %+v and %d events, want it unchanged and %d", got, events(), before)
	}
	first := pam.Deletes(t, two)
	if got := events(); got != before+1 {
		t.Errorf("got %d events, want %d", got, before+1)
	}
	for _, u := range []*nodetest.User{pam, ann} {
		if got := u.Deletes(t, two); !got.Message.Deleted || got.Cursor == first.Cursor ||
			events() != before+1 {
			t.Errorf("once more: got %+v and %d events, want it deleted and %d", got, events(), before+1)
		}
	}
	nodetest.Call[nodetest.Created](t, pam, 200, "DELETE", "/api/channels/"+id, nil)
	ann.WantRefused(t, 409, "channel_archived", "PATCH", "/api/messages/"+one,
		nodetest.Body{"content": "late"})
	ann.WantRefused(t, 409, "channel_archived", "DELETE", "/api/messages/"+one, nil)
}

// History shows a message as it is now, and to members also what they were spared on the stream.
func TestHistoryShowsEdits(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann := n.User("ann")
	id := ann.Makes(t, "triage", []string{"bob"}, nil).Channel.ID
	one, two := ann.Says(t, id, "one"), ann.Says(t, id, "two <@bob>")
	ann.Deletes(t, one.Message.ID)
	edited := ann.Edits(t, two.Message.ID, "2 <@user.id:ann>")
	if edited.Message.Content != "2 <@ann>" {
		t.Errorf("got %+v, want its mentions as in a post", edited.Message)
	}
	page := nodetest.Call[nodetest.List[nodetest.FullMessage]](t, n.User("bob"), 200, "GET",
		"/api/channels/"+id+"/messages", nil)
	wantGone := one.Message
	wantGone.Content, wantGone.Deleted = "", true
	edited.Message.Wakeup, edited.Message.WakeReason = new(true), "mention" // as the stream had it
	if diff := cmp.Diff([]nodetest.FullMessage{edited.Message, wantGone}, page.Items); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// Its at-list is that of its post, and so is whom it was for.
	if diff := cmp.Diff(map[string]string{"ann": "skip author", "bob": "wake mention"},
		ann.Deliveries(t, two.Message.ID)); diff != "" {
		t.Errorf("deliveries (-want +got):\n%s", diff)
	}
}

// The admin hears what became of a message that they heard, also if they have joined or left since.
func TestTheAdminHearsEdits(t *testing.T) {
	t.Parallel()
	const query = "?types=message.created,message.updated,message.deleted"
	want := []string{"message.created", "message.updated", "message.deleted"}
	n := nodetest.Start(t, nodetest.Setup{Admin: "adm"})
	ann, adm := n.User("ann"), n.User("adm")
	fence := n.Fence(t, "adm")
	channels := map[string]string{}
	from := fence()
	live := adm.Resume(t, nodetest.Raw, query, from)
	for name, step := range map[string]func(channel string){
		"a stranger": func(string) {},
		"joins":      func(channel string) { adm.Join(t, channel) },
		"joins, leaves": func(channel string) {
			adm.Join(t, channel)
			adm.Leave(t, channel)
		},
	} {
		id := ann.Makes(t, "triage", []string{"bob"}, nil).Channel.ID
		m := ann.Says(t, id, "one").Message.ID
		step(id)
		ann.Edits(t, m, "two")
		ann.Deletes(t, m)
		channels[name] = id
	}
	last := fence()
	compare := func(when string, frames []ssetest.Frame) {
		t.Helper()
		for name, id := range channels {
			if diff := cmp.Diff(want, nodetest.Kinds(nodetest.InChannel(frames, id))); diff != "" {
				t.Errorf("%s, %s (-want +got):\n%s", name, when, diff)
			}
		}
	}
	compare("live", live.Until(t, last))
	for _, r := range n.Replays(t) {
		frames, _ := raws(t, adm, r.N, query, from, last)
		compare(r.Name, frames)
	}
}
