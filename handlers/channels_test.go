package handlers_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

func TestCreateChannel(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	alice := n.user("alice")
	for _, tt := range []struct {
		name    string
		body    body
		want    channel
		members []string
	}{
		{
			"the least",
			body{"guildId": "g1", "name": "ops", "xType": "general"},
			channel{GuildID: "g1", Name: "ops", XType: "general", History: "joined", LoopLimit: 20, HumanWakes: "all", AgentWakes: "all"},
			[]string{"alice"},
		},
		{
			"all of it",
			body{"guildId": "g.1_@-", "name": "Ops & Co. 🙂", "xType": "report", "memberUserIds": []string{"bob", "alice", "carol", "bob"}, "private": true, "history": "all", "loopLimit": 7, "humanWakes": "mentions", "agentWakes": "none"},
			channel{GuildID: "g.1_@-", Name: "Ops & Co. 🙂", XType: "report", Private: true, History: "all", LoopLimit: 7, HumanWakes: "mentions", AgentWakes: "none"},
			[]string{"alice", "bob", "carol"},
		},
		{
			"a dm",
			body{"guildId": "g1", "xType": "dm", "memberUserIds": []string{"bob"}},
			channel{GuildID: "g1", XType: "dm", History: "joined", LoopLimit: 20, HumanWakes: "all", AgentWakes: "all"},
			[]string{"alice", "bob"},
		},
		{
			"null for what may be absent",
			body{"guildId": "g1", "name": "nulls", "xType": "work", "history": nil},
			channel{GuildID: "g1", Name: "nulls", XType: "work", History: "joined", LoopLimit: 0, HumanWakes: "all", AgentWakes: "all"},
			[]string{"alice"},
		},
	} {
		got := call[created](t, alice, 201, "POST", "/api/channels", tt.body)
		if id, err := uuid.Parse(got.Channel.ID); err != nil || id.Version() != 7 {
			t.Errorf("%s: got id %q, want a UUIDv7", tt.name, got.Channel.ID)
		}
		if !isTime(got.Channel.CreatedAt) {
			t.Errorf("%s: got createdAt %q, want RFC 3339 in UTC with milliseconds", tt.name, got.Channel.CreatedAt)
		}
		tt.want.ID, tt.want.CreatedAt, tt.want.CreatedBy = got.Channel.ID, got.Channel.CreatedAt, "alice"
		if diff := cmp.Diff(tt.want, got.Channel); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
		read := call[roomy](t, alice, 200, "GET", "/api/channels/"+got.Channel.ID, nil)
		if diff := cmp.Diff(got.Channel, read.Channel); diff != "" || read.MemberCount != len(tt.members) {
			t.Errorf("%s: got %d members, want %d; read it differs (-created +read):\n%s", tt.name, read.MemberCount, len(tt.members), diff)
		}
		if diff := cmp.Diff(tt.members, userIDs(read.Members)); diff != "" {
			t.Errorf("%s: members (-want +got):\n%s", tt.name, diff)
		}
	}
}

func userIDs(members []member) []string {
	got := []string{}
	for _, m := range members {
		got = append(got, m.UserID)
	}
	return got
}

func TestXTypes(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	for _, xType := range []string{"general", "report", "triage", "custom", "discuss", "work"} {
		if got := n.user("alice").create(t, newChannel{GuildID: "g1", Name: "c", XType: xType}).Channel.XType; got != xType {
			t.Errorf("got %q, want %q", got, xType)
		}
	}
}

func TestListChannels(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	alice, bob := n.user("alice"), n.user("bob")
	mine := alice.general(t, "mine").Channel
	joinable := bob.general(t, "joinable").Channel
	other := bob.create(t, newChannel{GuildID: "g2", Name: "other guild", XType: "general"}).Channel
	bob.create(t, newChannel{GuildID: "g1", Name: "private", XType: "general", Private: true})
	bob.create(t, newChannel{GuildID: "g1", XType: "dm", Members: []string{"carol"}})
	secret := bob.create(t, newChannel{GuildID: "g1", Name: "secret", XType: "general", Private: true, Members: []string{"alice"}}).Channel
	left := bob.general(t, "left", "alice").Channel
	alice.leave(t, left.ID)
	old := alice.general(t, "old").Channel
	old = call[created](t, alice, 200, "DELETE", "/api/channels/"+old.ID, nil).Channel
	for _, tt := range []struct {
		user  *user
		query string
		want  []channel
	}{
		{alice, "", []channel{mine, secret}},
		{alice, "?member=me", []channel{mine, secret}},
		{alice, "?member=any", []channel{mine, joinable, other, secret, left}},
		{alice, "?member=any&guildId=g2", []channel{other}},
		{alice, "?guildId=g3", []channel{}},
		{alice, "?archived=true", []channel{old}},
		{bob, "?archived=true", []channel{}},
		{bob, "?archived=true&member=any", []channel{old}},
		{alice, "?archived=false&limit=200&after=&_=1", []channel{mine, secret}},
		{n.user("alice", "g2"), "?member=any", []channel{other}},
		{n.user("alice", "g2"), "", []channel{}},
	} {
		got := call[list[channel]](t, tt.user, 200, "GET", "/api/channels"+tt.query, nil)
		if diff := cmp.Diff(tt.want, got.Items); diff != "" || got.Next != nil {
			t.Errorf("%s %q: got next %v, want none (-want +got):\n%s", tt.user.id, tt.query, got.Next, diff)
		}
	}
}

func TestPagesOfChannels(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	alice := n.user("alice")
	want := []string{}
	for i := range 60 {
		want = append(want, alice.general(t, fmt.Sprint("c", i)).Channel.ID)
	}
	for path, pages := range map[string]int{"/api/channels": 50, "/api/channels?limit=20": 20, "/api/channels?limit=60": 60, "/api/channels?limit=7": 7} {
		if first := call[list[channel]](t, alice, 200, "GET", path, nil); len(first.Items) != pages || (first.Next == nil) != (pages == 60) {
			t.Errorf("%s: got %d items and next %v, want %d", path, len(first.Items), first.Next, pages)
		}
		got := []string{}
		for _, c := range everything[channel](t, alice, path, "after") {
			got = append(got, c.ID)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
}

func TestADMIsUnique(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	alice, bob := n.user("alice"), n.user("bob")
	answers := make([]answer, 24)
	var racing sync.WaitGroup
	for i := range answers {
		racing.Go(func() {
			u, other := alice, "bob"
			if i%2 == 0 {
				u, other = bob, "alice"
			}
			var err error
			if answers[i], err = u.do("POST", "/api/channels", newChannel{GuildID: "g1", XType: "dm", Members: []string{other}}); err != nil {
				t.Error(err)
			}
		})
	}
	racing.Wait()
	bodies := map[created]int{}
	statuses := map[int]int{}
	for _, a := range answers {
		statuses[a.status]++
		var c created
		if err := strictly(a.body, &c); err != nil {
			t.Errorf("%v: %v", a, err)
		}
		bodies[c]++
	}
	if diff := cmp.Diff(map[int]int{201: 1, 200: 23}, statuses); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
	if len(bodies) != 1 {
		t.Errorf("got %d different answers, want one dm with the cursor of its event: %v", len(bodies), bodies)
	}
	if got := n.count(t, `SELECT count(*) FROM events`); got != 1 {
		t.Errorf("got %d events, want 1", got)
	}
	alice.create(t, newChannel{GuildID: "g2", XType: "dm", Members: []string{"bob"}})   // another guild
	alice.create(t, newChannel{GuildID: "g1", XType: "dm", Members: []string{"carol"}}) // another pair
}

func TestADMIsFixed(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	alice := n.user("alice")
	dm := "/api/channels/" + alice.create(t, newChannel{GuildID: "g1", XType: "dm", Members: []string{"bob"}}).Channel.ID
	alice.refused(t, 422, "dm_fixed", "POST", dm+"/leave", nil)
	alice.refused(t, 422, "dm_fixed", "DELETE", dm, nil)
	alice.refused(t, 422, "dm_fixed", "PATCH", dm, body{"name": "us"})
	alice.refused(t, 422, "dm_fixed", "PUT", dm+"/members/carol", nil)
	alice.refused(t, 422, "dm_fixed", "DELETE", dm+"/members/bob", nil)
	if got := call[changed](t, alice, 200, "POST", dm+"/join", nil); got.Changed {
		t.Errorf("joined a dm that one is in: got %+v, want no change", got)
	}
	if got := n.count(t, `SELECT count(*) FROM events`); got != 1 {
		t.Errorf("got %d events, want 1", got)
	}
}

func TestRename(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	alice := n.user("alice")
	c := alice.general(t, "ops", "bob")
	path := "/api/channels/" + c.Channel.ID
	name := strings.Repeat("é", 100) // characters, not bytes
	got := call[created](t, alice, 200, "PATCH", path, body{"name": name})
	c.Channel.Name = name
	if diff := cmp.Diff(c.Channel, got.Channel); diff != "" || seq(got.Cursor) <= seq(c.Cursor) {
		t.Errorf("got cursor %s, want one after %s (-want +got):\n%s", got.Cursor, c.Cursor, diff)
	}
	again := call[created](t, alice, 200, "PATCH", path, body{"name": name})
	if again.Channel.Name != name || seq(again.Cursor) > seq(got.Cursor) {
		t.Errorf("renamed to what it is: got %+v, want no event after %s", again, got.Cursor)
	}
	if got := n.count(t, `SELECT count(*) FROM events`); got != 2 {
		t.Errorf("got %d events, want 2", got)
	}
}

func TestArchive(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	alice, bob := n.user("alice"), n.user("bob")
	c := alice.general(t, "ops", "bob")
	path := "/api/channels/" + c.Channel.ID
	bob.post(t, c.Channel.ID, "before")
	s, _ := bob.fresh(t, raw, "")

	archived := call[created](t, alice, 200, "DELETE", path, nil)
	if !isTime(archived.Channel.ArchivedAt) || seq(archived.Cursor) <= seq(c.Cursor) {
		t.Errorf("got %+v, want archivedAt and a cursor after %s", archived, c.Cursor)
	}
	again := call[created](t, alice, 200, "DELETE", path, nil)
	if diff := cmp.Diff(archived.Channel, again.Channel); diff != "" || seq(again.Cursor) > seq(archived.Cursor) {
		t.Errorf("archived again: got cursor %s, want no event after %s (-first +second):\n%s", again.Cursor, archived.Cursor, diff)
	}
	bob.refused(t, 409, "channel_archived", "POST", path+"/messages", body{"content": "hi"})
	n.user("carol").refused(t, 409, "channel_archived", "POST", path+"/join", nil)
	alice.refused(t, 409, "channel_archived", "PUT", path+"/members/carol", nil)
	alice.refused(t, 409, "channel_archived", "PATCH", path, body{"name": "x"})
	// Members stay and may still read, and leave.
	if diff := cmp.Diff([]string{"before"}, bob.history(t, c.Channel.ID)); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
	if got := call[roomy](t, bob, 200, "GET", path, nil); got.MemberCount != 2 || got.Channel.ArchivedAt != archived.Channel.ArchivedAt {
		t.Errorf("got %+v, want the archived channel with 2 members", got)
	}
	if got := bob.join(t, c.Channel.ID); got.Changed {
		t.Errorf("got %+v, want no change: who is in it may say so again", got)
	}
	for what, in := range map[string][]channel{
		"the list": everything[channel](t, bob, "/api/channels", "after"),
		"sync":     bob.sync(t).Channels,
		"ready":    func() []channel { _, r := bob.fresh(t, raw, ""); return *r.Channels }(),
	} {
		if slices.ContainsFunc(in, func(o channel) bool { return o.ID == c.Channel.ID }) {
			t.Errorf("%s holds an archived channel: %v", what, in)
		}
	}
	left := bob.leave(t, c.Channel.ID)
	if got := ids(s.until(t, left.Cursor)); !cmp.Equal(got, []string{archived.Cursor, left.Cursor}) {
		t.Errorf("got %q, want the archive and the leave", got)
	}
}
