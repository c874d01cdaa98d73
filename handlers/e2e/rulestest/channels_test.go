package rulestest_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers/e2e/nodetest"
)

func TestChannels(t *testing.T) {
	nodetest.Share(t,
		nodetest.Small{Name: "create", Test: createChannel},
		nodetest.Small{Name: "x-types", Test: xTypes},
		nodetest.Small{Name: "a dm is fixed", Test: dmIsFixed},
		nodetest.Small{Name: "rename", Test: renameChannel},
		nodetest.Small{Name: "archive", Test: archiveChannel},
	)
}

func createChannel(t *testing.T, n *nodetest.Node) {
	alice := n.User("alice")
	for _, tt := range []struct {
		name    string
		body    nodetest.Body
		want    nodetest.Channel
		members []string
	}{
		{
			"the least",
			nodetest.Body{"guildId": "g1", "name": "ops", "xType": "general"},
			nodetest.Channel{
				GuildID: "g1", Name: "ops", XType: "general", History: "joined", LoopLimit: 20,
				HumanWakes: "all", AgentWakes: "all",
			},
			[]string{"alice"},
		},
		{
			"all of it",
			nodetest.Body{
				"guildId": "g.1_@-", "name": "Ops & Co. 🙂", "xType": "report",
				"memberUserIds": []string{"bob", "alice", "carol", "bob"}, "private": true, "history": "all",
				"loopLimit": 7, "humanWakes": "mentions", "agentWakes": "none",
			},
			nodetest.Channel{
				GuildID: "g.1_@-", Name: "Ops & Co. 🙂", XType: "report", Private: true,
				History: "all", LoopLimit: 7, HumanWakes: "mentions", AgentWakes: "none",
			},
			[]string{"alice", "bob", "carol"},
		},
		{
			"a dm",
			nodetest.Body{"guildId": "g1", "xType": "dm", "memberUserIds": []string{"bob"}},
			nodetest.Channel{
				GuildID: "g1", XType: "dm", History: "joined", LoopLimit: 20, HumanWakes: "all",
				AgentWakes: "all",
			},
			[]string{"alice", "bob"},
		},
		{
			"null for what may be absent",
			nodetest.Body{"guildId": "g1", "name": "nulls", "xType": "work", "history": nil},
			nodetest.Channel{
				GuildID: "g1", Name: "nulls", XType: "work", History: "joined", LoopLimit: 0,
				HumanWakes: "all", AgentWakes: "all",
			},
			[]string{"alice"},
		},
	} {
		got := nodetest.Call[nodetest.Created](t, alice, 201, "POST", "/api/channels", tt.body)
		if id, err := uuid.Parse(got.Channel.ID); err != nil || id.Version() != 7 {
			t.Errorf("%s: got id %q, want a UUIDv7", tt.name, got.Channel.ID)
		}
		if !nodetest.IsTime(got.Channel.CreatedAt) {
			t.Errorf("%s: got createdAt %q, want RFC 3339 in UTC with milliseconds", tt.name,
				got.Channel.CreatedAt)
		}
		tt.want.ID, tt.want.CreatedAt, tt.want.CreatedBy = got.Channel.ID, got.Channel.CreatedAt, "alice"
		if diff := cmp.Diff(tt.want, got.Channel); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
		read := nodetest.Call[nodetest.Roomy](t, alice, 200, "GET", "/api/channels/"+got.Channel.ID, nil)
		if diff := cmp.Diff(got.Channel, read.Channel); diff != "" || read.MemberCount != len(tt.members) {
			t.Errorf("%s: got %d members, want %d; read it differs (-created +read):\n%s", tt.name,
				read.MemberCount, len(tt.members), diff)
		}
		if diff := cmp.Diff(tt.members, userIDs(read.Members)); diff != "" {
			t.Errorf("%s: members (-want +got):\n%s", tt.name, diff)
		}
	}
}

func userIDs(members []nodetest.Member) []string {
	got := []string{}
	for _, m := range members {
		got = append(got, m.UserID)
	}
	return got
}

func xTypes(t *testing.T, n *nodetest.Node) {
	for _, xType := range []string{"general", "report", "triage", "custom", "discuss", "work"} {
		if got := n.User("alice").Create(
			t, nodetest.NewChannel{GuildID: "g1", Name: "c", XType: xType},
		).Channel.XType; got != xType {
			t.Errorf("got %q, want %q", got, xType)
		}
	}
}

func TestListChannels(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	alice, bob := n.User("alice"), n.User("bob")
	mine := alice.General(t, "mine").Channel
	joinable := bob.General(t, "joinable").Channel
	other := bob.Create(t, nodetest.NewChannel{GuildID: "g2", Name: "other guild", XType: "general"}).Channel
	bob.Create(t, nodetest.NewChannel{GuildID: "g1", Name: "private", XType: "general", Private: true})
	bob.Create(t, nodetest.NewChannel{GuildID: "g1", XType: "dm", Members: []string{"carol"}})
	secret := bob.Create(t, nodetest.NewChannel{
		GuildID: "g1", Name: "secret", XType: "general",
		Private: true, Members: []string{"alice"},
	}).Channel
	left := bob.General(t, "left", "alice").Channel
	alice.Leave(t, left.ID)
	old := alice.General(t, "old").Channel
	old = nodetest.Call[nodetest.Created](t, alice, 200, "DELETE", "/api/channels/"+old.ID, nil).Channel
	for _, tt := range []struct {
		user  *nodetest.User
		query string
		want  []nodetest.Channel
	}{
		{alice, "", []nodetest.Channel{mine, secret}},
		{alice, "?member=me", []nodetest.Channel{mine, secret}},
		{alice, "?member=any", []nodetest.Channel{mine, joinable, other, secret, left}},
		{alice, "?member=any&guildId=g2", []nodetest.Channel{other}},
		{alice, "?guildId=g3", []nodetest.Channel{}},
		{alice, "?archived=true", []nodetest.Channel{old}},
		{bob, "?archived=true", []nodetest.Channel{}},
		{bob, "?archived=true&member=any", []nodetest.Channel{old}},
		{alice, "?archived=false&limit=200&after=&_=1", []nodetest.Channel{mine, secret}},
		{n.User("alice", "g2"), "?member=any", []nodetest.Channel{other}},
		{n.User("alice", "g2"), "", []nodetest.Channel{}},
	} {
		got := nodetest.Call[nodetest.List[nodetest.Channel]](t, tt.user, 200, "GET",
			"/api/channels"+tt.query, nil)
		if diff := cmp.Diff(tt.want, got.Items); diff != "" || got.Next != nil {
			t.Errorf("%s %q: got next %v, want none (-want +got):\n%s", tt.user.ID, tt.query, got.Next, diff)
		}
	}
}

func TestPagesOfChannels(t *testing.T) {
	dbtest.Long(t) // TestListChannels is fast
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	alice := n.User("alice")
	want := []string{}
	for i := range 60 {
		want = append(want, alice.General(t, fmt.Sprint("c", i)).Channel.ID)
	}
	for path, pages := range map[string]int{
		"/api/channels": 50, "/api/channels?limit=20": 20,
		"/api/channels?limit=60": 60, "/api/channels?limit=7": 7,
	} {
		if first := nodetest.Call[nodetest.List[nodetest.Channel]](t, alice, 200, "GET", path,
			nil); len(first.Items) != pages || (first.Next == nil) != (pages == 60) {
			t.Errorf("%s: got %d items and next %v, want %d", path, len(first.Items), first.Next, pages)
		}
		got := []string{}
		for _, c := range nodetest.Everything[nodetest.Channel](t, alice, path, "after") {
			got = append(got, c.ID)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
}

func TestADMIsUnique(t *testing.T) {
	dbtest.Long(t) // TestChannels is fast
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	alice, bob := n.User("alice"), n.User("bob")
	answers := make([]nodetest.Answer, 24)
	var racing sync.WaitGroup
	for i := range answers {
		racing.Go(func() {
			u, other := alice, "bob"
			if i%2 == 0 {
				u, other = bob, "alice"
			}
			var err error
			if answers[i], err = u.Do("POST", "/api/channels",
				nodetest.NewChannel{GuildID: "g1", XType: "dm", Members: []string{other}}); err != nil {
				t.Error(err)
			}
		})
	}
	racing.Wait()
	bodies := map[nodetest.Created]int{}
	statuses := map[int]int{}
	for _, a := range answers {
		statuses[a.Status]++
		var c nodetest.Created
		if err := nodetest.Strictly(a.Body, &c); err != nil {
			t.Errorf("%v: %v", a, err)
		}
		bodies[c]++
	}
	if diff := cmp.Diff(map[int]int{201: 1, 200: 23}, statuses); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
	if len(bodies) != 1 {
		t.Errorf("got %d different answers, want one dm with the cursor of its event: %v",
			len(bodies), bodies)
	}
	if got := n.Count(t, `SELECT count(*) FROM events`); got != 1 {
		t.Errorf("got %d events, want 1", got)
	}
	// another guild
	alice.Create(t, nodetest.NewChannel{GuildID: "g2", XType: "dm", Members: []string{"bob"}})
	// another pair
	alice.Create(t, nodetest.NewChannel{GuildID: "g1", XType: "dm", Members: []string{"carol"}})
}

func dmIsFixed(t *testing.T, n *nodetest.Node) {
	alice := n.User("alice")
	before := n.Count(t, `SELECT count(*) FROM events`)
	dm := "/api/channels/" +
		alice.Create(t, nodetest.NewChannel{GuildID: "g1", XType: "dm", Members: []string{"dora"}}).Channel.ID
	alice.Refused(t, 422, "dm_fixed", "POST", dm+"/leave", nil)
	alice.Refused(t, 422, "dm_fixed", "DELETE", dm, nil)
	alice.Refused(t, 422, "dm_fixed", "PATCH", dm, nodetest.Body{"name": "us"})
	alice.Refused(t, 422, "dm_fixed", "PUT", dm+"/members/carol", nil)
	alice.Refused(t, 422, "dm_fixed", "DELETE", dm+"/members/dora", nil)
	if got := nodetest.Call[nodetest.Changed](t, alice, 200, "POST", dm+"/join", nil); got.Changed {
		t.Errorf("joined a dm that one is in: got %+v, want no change", got)
	}
	if got := n.Count(t, `SELECT count(*) FROM events`) - before; got != 1 {
		t.Errorf("got %d events, want 1", got)
	}
}

func renameChannel(t *testing.T, n *nodetest.Node) {
	alice := n.User("alice")
	before := n.Count(t, `SELECT count(*) FROM events`)
	c := alice.General(t, "ops", "bob")
	path := "/api/channels/" + c.Channel.ID
	name := strings.Repeat("é", 100) // characters, not bytes
	got := nodetest.Call[nodetest.Created](t, alice, 200, "PATCH", path, nodetest.Body{"name": name})
	c.Channel.Name = name
	if diff := cmp.Diff(c.Channel, got.Channel); diff != "" ||
		nodetest.Seq(got.Cursor) <= nodetest.Seq(c.Cursor) {
		t.Errorf("got cursor %s, want one after %s (-want +got):\n%s", got.Cursor, c.Cursor, diff)
	}
	again := nodetest.Call[nodetest.Created](t, alice, 200, "PATCH", path, nodetest.Body{"name": name})
	if again.Channel.Name != name || nodetest.Seq(again.Cursor) > nodetest.Seq(got.Cursor) {
		t.Errorf("renamed to what it is: got %+v, want no event after %s", again, got.Cursor)
	}
	if got := n.Count(t, `SELECT count(*) FROM events`) - before; got != 2 {
		t.Errorf("got %d events, want 2", got)
	}
}

func archiveChannel(t *testing.T, n *nodetest.Node) {
	alice, bob := n.User("alice"), n.User("bob")
	c := alice.General(t, "ops", "bob")
	path := "/api/channels/" + c.Channel.ID
	bob.Post(t, c.Channel.ID, "before")
	s, _ := bob.Fresh(t, nodetest.Raw, "")

	archived := nodetest.Call[nodetest.Created](t, alice, 200, "DELETE", path, nil)
	if !nodetest.IsTime(archived.Channel.ArchivedAt) ||
		nodetest.Seq(archived.Cursor) <= nodetest.Seq(c.Cursor) {
		t.Errorf("got %+v, want archivedAt and a cursor after %s", archived, c.Cursor)
	}
	again := nodetest.Call[nodetest.Created](t, alice, 200, "DELETE", path, nil)
	if diff := cmp.Diff(archived.Channel, again.Channel); diff != "" ||
		nodetest.Seq(again.Cursor) > nodetest.Seq(archived.Cursor) {
		t.Errorf("archived again: got cursor %s, want no event after %s (-first +second):\n%s", again.Cursor,
			archived.Cursor, diff)
	}
	bob.Refused(t, 409, "channel_archived", "POST", path+"/messages", nodetest.Body{"content": "hi"})
	n.User("carol").Refused(t, 409, "channel_archived", "POST", path+"/join", nil)
	alice.Refused(t, 409, "channel_archived", "PUT", path+"/members/carol", nil)
	alice.Refused(t, 409, "channel_archived", "PATCH", path, nodetest.Body{"name": "x"})
	// Members stay and may still read, and leave.
	if diff := cmp.Diff([]string{"before"}, bob.History(t, c.Channel.ID)); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
	if got := nodetest.Call[nodetest.Roomy](t, bob, 200, "GET", path, nil); got.MemberCount != 2 ||
		got.Channel.ArchivedAt != archived.Channel.ArchivedAt {
		t.Errorf("got %+v, want the archived channel with 2 members", got)
	}
	if got := bob.Join(t, c.Channel.ID); got.Changed {
		t.Errorf("got %+v, want no change: who is in it may say so again", got)
	}
	for what, in := range map[string][]nodetest.Channel{
		"the list": nodetest.Everything[nodetest.Channel](t, bob, "/api/channels", "after"),
		"sync":     bob.Sync(t).Channels,
		"ready": func() []nodetest.Channel {
			_, r := bob.Fresh(t, nodetest.Raw, "")
			return *r.Channels
		}(),
	} {
		if slices.ContainsFunc(in, func(o nodetest.Channel) bool { return o.ID == c.Channel.ID }) {
			t.Errorf("%s holds an archived channel: %v", what, in)
		}
	}
	left := bob.Leave(t, c.Channel.ID)
	if got := nodetest.IDs(s.Until(t, left.Cursor)); !cmp.Equal(got, []string{archived.Cursor, left.Cursor}) {
		t.Errorf("got %q, want the archive and the leave", got)
	}
}
