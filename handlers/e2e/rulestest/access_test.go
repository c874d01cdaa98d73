package rulestest_test

import (
	"testing"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers/e2e/nodetest"
)

// Strangers get the same answer for a private channel, a dm and an unknown id.
func TestHiddenChannelsAreUnknown(t *testing.T) {
	dbtest.Long(t) // TestWhoMayWhat is fast
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	alice, stranger := n.User("alice"), n.User("stranger")
	private := alice.Create(t, nodetest.NewChannel{
		GuildID: "g1", Name: "p", XType: "general", Private: true,
		Members: []string{"former"},
	}).Channel.ID
	dm := alice.Create(t, nodetest.NewChannel{
		GuildID: "g1", XType: "dm",
		Members: []string{"bob"},
	}).Channel.ID
	alice.Remove(t, private, "former")
	seen := alice.Post(t, private, "seen")
	unknown := "01a20138-0000-7000-8000-000000000000"
	var want nodetest.Problem
	for _, u := range []*nodetest.User{stranger, n.User("former"), n.User("alice", "g2")} {
		for name, id := range map[string]string{
			"unknown": unknown, "private": private, "dm": dm,
			"no id": "x", "a short id": "01a20138",
		} {
			for _, r := range []struct {
				method, path string
				body         any
			}{
				{"GET", "", nil},
				{"PATCH", "", nodetest.Body{"name": "x"}},
				{"DELETE", "", nil},
				{"POST", "/join", nil},
				{"GET", "/members", nil},
				{"PUT", "/members/stranger", nil},
				{"DELETE", "/members/alice", nil},
				{"POST", "/messages", nodetest.Body{"content": "x"}},
				{"POST", "/messages", nodetest.Body{"content": "x", "replyTo": seen.Message.ID}},
				{"GET", "/messages", nil},
				{"GET", "/messages?before=" + seen.Message.ID, nil},
			} {
				t.Run(u.ID+" "+name+" "+r.method+" "+r.path, func(t *testing.T) {
					p := u.Refused(t, 404, "channel_not_found", r.method, "/api/channels/"+id+r.path, r.body)
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
	if got := n.Count(t, `SELECT count(*) FROM events`); got != 4 {
		t.Errorf("got %d events, want 4", got)
	}
	// A former member of a private channel gets the same answer again, and learns no more.
	if got := n.User("former").Leave(t, private); got.Changed {
		t.Errorf("got %+v, want no change", got)
	}
	if got := alice.Add(t, private, "stranger"); !got.Changed { // a private channel is entered by being added
		t.Errorf("got %+v, want a change", got)
	}
	if got := stranger.History(t, private); len(got) != 0 {
		t.Errorf("got %q, want nothing from before", got)
	}
}

// Once the creator has left, every member may manage the channel. Once the creator is back, only the creator
// may.
func TestWhenTheCreatorHasLeft(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	alice, bob := n.User("alice"), n.User("bob")
	id := alice.General(t, "ops", "bob", "carol").Channel.ID
	path := "/api/channels/" + id
	alice.Leave(t, id)
	alice.Refused(t, 403, "not_member", "PATCH", path, nodetest.Body{"name": "a"})
	nodetest.Call[nodetest.Created](t, bob, 200, "PATCH", path, nodetest.Body{"name": "b"})
	if got := bob.Remove(t, id, "carol"); !got.Changed {
		t.Errorf("got %+v, want a change", got)
	}
	alice.Join(t, id)
	bob.Refused(t, 403, "not_creator", "PATCH", path, nodetest.Body{"name": "c"})
	bob.Refused(t, 403, "not_creator", "DELETE", path, nil)
	bob.Refused(t, 403, "not_creator", "DELETE", path+"/members/alice", nil)
	alice.Leave(t, id)
	nodetest.Call[nodetest.Created](t, bob, 200, "DELETE", path, nil)
}

func TestATokenForOtherGuildsMayNotCreate(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	u := n.User("alice", "g1")
	u.Refused(t, 403, "guild_forbidden", "POST", "/api/channels",
		nodetest.NewChannel{GuildID: "g2", Name: "x", XType: "general"})
	u.General(t, "x")
}
