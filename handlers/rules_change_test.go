package handlers_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWhoMayChangeAMessage(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	pam, ann, bob, str := n.user("pam"), n.user("ann"), n.user("bob"), n.user("str")
	id := pam.create(t, newChannel{GuildID: "g1", Name: "ops", XType: "general", Private: true, Members: []string{"ann", "bob"}}).Channel.ID
	open := pam.general(t, "open", "ann").Channel.ID
	m, gone, public := ann.says(t, id, "hi").Message.ID, ann.says(t, id, "gone").Message.ID, ann.says(t, open, "hi").Message.ID
	ann.deletes(t, gone)
	n.user("late").join(t, open)
	before := n.count(t, `SELECT count(*) FROM events`)
	const nobody = "/api/messages/00000000-0000-7000-8000-000000000000"
	for _, tt := range []struct {
		name         string
		who          *user
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
		{"a stranger edits in a channel that they could join", str, "PATCH", "/api/messages/" + public, "mine", 404, "message_not_found"},
		{"a stranger asks who heard it", str, "GET", "/api/messages/" + m + "/deliveries", "", 404, "message_not_found"},
		{"who joined later edits", n.user("late"), "PATCH", "/api/messages/" + public, "mine", 404, "message_not_found"},
		{"another guild's token", n.user("ann", "g2"), "PATCH", "/api/messages/" + m, "mine", 404, "message_not_found"},
		{"no such message", ann, "PATCH", nobody, "mine", 404, "message_not_found"},
		{"no such message to delete", ann, "DELETE", nobody, "", 404, "message_not_found"},
		{"no id", ann, "DELETE", "/api/messages/x", "", 404, "message_not_found"},
		{"a deleted one is edited", ann, "PATCH", "/api/messages/" + gone, "again", 409, "message_deleted"},
		{"an empty text", ann, "PATCH", "/api/messages/" + m, " \n", 422, "invalid"},
		{"a NUL", ann, "PATCH", "/api/messages/" + m, "a\x00b", 422, "invalid"},
	} {
		var b any
		if tt.method == "PATCH" {
			b = body{"content": tt.content}
		}
		t.Run(tt.name, func(t *testing.T) { tt.who.wantRefused(t, tt.status, tt.code, tt.method, tt.path, b) })
	}
	if got := n.count(t, `SELECT count(*) FROM events`); got != before {
		t.Errorf("got %d events, want the %d that were there", got, before)
	}
	if got := ann.history(t, open); !cmp.Equal(got, []string{"hi"}) {
		t.Errorf("got %q, want it as it was", got)
	}
}

func TestAChangeThatChangesNothingHasNoEvent(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	pam, ann := n.user("pam"), n.user("ann")
	joined := pam.general(t, "ops", "ann")
	id := joined.Channel.ID
	one, two := ann.says(t, id, "one").Message.ID, ann.says(t, id, "two").Message.ID
	events := func() int { return n.count(t, `SELECT count(*) FROM events`) }
	before := events()
	if got := ann.edits(t, one, "one"); got.Message.EditedAt != "" || seq(got.Cursor) > seq(joined.Cursor) || events() != before {
		t.Errorf("the same text: got %+v and %d events, want it unchanged and %d", got, events(), before)
	}
	first := pam.deletes(t, two)
	if got := events(); got != before+1 {
		t.Errorf("got %d events, want %d", got, before+1)
	}
	for _, u := range []*user{pam, ann} {
		if got := u.deletes(t, two); !got.Message.Deleted || got.Cursor == first.Cursor || events() != before+1 {
			t.Errorf("once more: got %+v and %d events, want it deleted and %d", got, events(), before+1)
		}
	}
	call[created](t, pam, 200, "DELETE", "/api/channels/"+id, nil)
	ann.wantRefused(t, 409, "channel_archived", "PATCH", "/api/messages/"+one, body{"content": "late"})
	ann.wantRefused(t, 409, "channel_archived", "DELETE", "/api/messages/"+one, nil)
}

// History shows a message as it is now, and to members also what they were spared on the stream.
func TestHistoryShowsEdits(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	ann := n.user("ann")
	id := ann.makes(t, "triage", []string{"bob"}, nil).Channel.ID
	one, two := ann.says(t, id, "one"), ann.says(t, id, "two <@bob>")
	ann.deletes(t, one.Message.ID)
	edited := ann.edits(t, two.Message.ID, "2 <@user.id:ann>")
	if edited.Message.Content != "2 <@ann>" {
		t.Errorf("got %+v, want its mentions as in a post", edited.Message)
	}
	page := call[list[FullMessage]](t, n.user("bob"), 200, "GET", "/api/channels/"+id+"/messages", nil)
	wantGone := one.Message
	wantGone.Content, wantGone.Deleted = "", true
	edited.Message.Wakeup, edited.Message.WakeReason = new(true), "mention" // as the stream had it
	if diff := cmp.Diff([]FullMessage{edited.Message, wantGone}, page.Items); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// Its at-list is that of its post, and so is whom it was for.
	if diff := cmp.Diff(map[string]string{"ann": "skip author", "bob": "wake mention"}, ann.deliveries(t, two.Message.ID)); diff != "" {
		t.Errorf("deliveries (-want +got):\n%s", diff)
	}
}

// The admin hears what became of a message that they heard, also if they have joined or left since.
func TestTheAdminHearsEdits(t *testing.T) {
	t.Parallel()
	for name, step := range map[string]func(t *testing.T, adm *user, channel string){
		"a stranger": func(*testing.T, *user, string) {},
		"joins":      func(t *testing.T, adm *user, channel string) { adm.join(t, channel) },
		"joins, leaves": func(t *testing.T, adm *user, channel string) {
			adm.join(t, channel)
			adm.leave(t, channel)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := start(t, setup{admin: "adm"})
			ann, adm := n.user("ann"), n.user("adm")
			fence := n.fence(t, "adm")
			id := ann.makes(t, "triage", []string{"bob"}, nil).Channel.ID
			from := fence()
			live := adm.resume(t, raw, "?types=message.created,message.updated,message.deleted", from)
			m := ann.says(t, id, "one").Message.ID
			step(t, adm, id)
			ann.edits(t, m, "two")
			ann.deletes(t, m)
			last := fence()
			want := []string{"message.created", "message.updated", "message.deleted"}
			if diff := cmp.Diff(want, kinds(here(live.until(t, last), id))); diff != "" {
				t.Errorf("live (-want +got):\n%s", diff)
			}
			for _, r := range n.replays(t) {
				frames, _ := adm.raws(t, r.n, "?types=message.created,message.updated,message.deleted", from, last)
				if diff := cmp.Diff(want, kinds(here(frames, id))); diff != "" {
					t.Errorf("%s (-want +got):\n%s", r.name, diff)
				}
			}
		})
	}
}
