package handlers_test

import (
	"testing"
)

// To strangers a private channel and a dm are what an unknown id is.
func TestHiddenChannelsAreUnknown(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	alice, stranger := n.user("alice"), n.user("stranger")
	private := alice.create(t, newChannel{GuildID: "g1", Name: "p", XType: "general", Private: true, Members: []string{"former"}}).Channel.ID
	dm := alice.create(t, newChannel{GuildID: "g1", XType: "dm", Members: []string{"bob"}}).Channel.ID
	alice.remove(t, private, "former")
	seen := alice.post(t, private, "seen")
	unknown := "01a20138-0000-7000-8000-000000000000"
	var want problem
	for _, u := range []*user{stranger, n.user("former"), n.user("alice", "g2")} {
		for name, id := range map[string]string{"unknown": unknown, "private": private, "dm": dm, "no id": "x", "a short id": "01a20138"} {
			for _, r := range []struct {
				method, path string
				body         any
			}{
				{"GET", "", nil},
				{"PATCH", "", body{"name": "x"}},
				{"DELETE", "", nil},
				{"POST", "/join", nil},
				{"GET", "/members", nil},
				{"PUT", "/members/stranger", nil},
				{"DELETE", "/members/alice", nil},
				{"POST", "/messages", body{"content": "x"}},
				{"POST", "/messages", body{"content": "x", "replyTo": seen.Message.ID}},
				{"GET", "/messages", nil},
				{"GET", "/messages?before=" + seen.Message.ID, nil},
			} {
				t.Run(u.id+" "+name+" "+r.method+" "+r.path, func(t *testing.T) {
					p := u.refused(t, 404, "channel_not_found", r.method, "/api/channels/"+id+r.path, r.body)
					if want.Detail == "" {
						want = p
					}
					if p.Detail != want.Detail {
						t.Errorf("got detail %q, want %q as elsewhere", p.Detail, want.Detail)
					}
				})
			}
		}
	}
	if got := n.count(t, `SELECT count(*) FROM events`); got != 4 {
		t.Errorf("got %d events, want 4", got)
	}
	// Who has left a private channel is told so again, and learns no more.
	if got := n.user("former").leave(t, private); got.Changed {
		t.Errorf("got %+v, want no change", got)
	}
	if got := alice.add(t, private, "stranger"); !got.Changed { // a private channel is entered by being added
		t.Errorf("got %+v, want a change", got)
	}
	if got := stranger.history(t, private); len(got) != 0 {
		t.Errorf("got %q, want nothing from before", got)
	}
}

// Once the creator has left, any member steers; when they are back they alone do.
func TestWhenTheCreatorHasLeft(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	alice, bob := n.user("alice"), n.user("bob")
	id := alice.general(t, "ops", "bob", "carol").Channel.ID
	path := "/api/channels/" + id
	alice.leave(t, id)
	alice.refused(t, 403, "not_member", "PATCH", path, body{"name": "a"})
	call[created](t, bob, 200, "PATCH", path, body{"name": "b"})
	if got := bob.remove(t, id, "carol"); !got.Changed {
		t.Errorf("got %+v, want a change", got)
	}
	alice.join(t, id)
	bob.refused(t, 403, "not_creator", "PATCH", path, body{"name": "c"})
	bob.refused(t, 403, "not_creator", "DELETE", path, nil)
	bob.refused(t, 403, "not_creator", "DELETE", path+"/members/alice", nil)
	alice.leave(t, id)
	call[created](t, bob, 200, "DELETE", path, nil)
}

func TestATokenForOtherGuildsMayNotCreate(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	u := n.user("alice", "g1")
	u.refused(t, 403, "guild_forbidden", "POST", "/api/channels", newChannel{GuildID: "g2", Name: "x", XType: "general"})
	u.general(t, "x")
}
