package rulestest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"fabric-guild/handlers/e2e/nodetest"
)

func TestMessages(t *testing.T) {
	nodetest.Share(t,
		nodetest.Small{Name: "post", Test: postMessage},
		nodetest.Small{Name: "wakeups are bounded and counted", Test: boundedWakeups},
		nodetest.Small{Name: "history", Test: history},
		nodetest.Small{Name: "the history of others' times wakes nobody", Test: historyOfOthersTimes},
		nodetest.Small{Name: "roster", Test: roster},
	)
}

func postMessage(t *testing.T, n *nodetest.Node) {
	alice := n.User("alice")
	general := alice.General(t, "ops", "bob", "carol").Channel
	report := alice.Create(t, nodetest.NewChannel{
		GuildID: "g1", Name: "news", XType: "report",
		Members: []string{"bob"},
	}).Channel
	dm := alice.Create(t, nodetest.NewChannel{GuildID: "g1", XType: "dm", Members: []string{"bob"}}).Channel
	alone := alice.General(t, "alone").Channel
	first := alice.Post(t, general.ID, "first")
	for _, tt := range []struct {
		channel  nodetest.Channel
		body     nodetest.Body
		mentions []string
		wakeups  []nodetest.Wakeup
	}{
		{
			general,
			nodetest.Body{"content": "hi", "replyTo": first.Message.ID},
			[]string{},
			[]nodetest.Wakeup{{UserID: "bob", Reason: "everyone"}, {UserID: "carol", Reason: "everyone"}},
		},
		{
			general,
			nodetest.Body{"content": "<@carol> <@bob> <@carol>", "replyTo": nil},
			[]string{"carol", "bob"},
			[]nodetest.Wakeup{{UserID: "carol", Reason: "mention"}, {UserID: "bob", Reason: "mention"}},
		},
		{
			general,
			nodetest.Body{"content": "<@alice> <@dave>"},
			[]string{},
			[]nodetest.Wakeup{{UserID: "bob", Reason: "everyone"}, {UserID: "carol", Reason: "everyone"}},
		},
		{report, nodetest.Body{"content": "<@bob>"}, []string{"bob"}, []nodetest.Wakeup{}},
		{
			dm,
			nodetest.Body{"content": "you"},
			[]string{},
			[]nodetest.Wakeup{{UserID: "bob", Reason: "direct"}},
		},
		{alone, nodetest.Body{"content": "echo?"}, []string{}, []nodetest.Wakeup{}},
		{
			general,
			nodetest.Body{"content": strings.Repeat("é", 8<<10)},
			[]string{},
			[]nodetest.Wakeup{{UserID: "bob", Reason: "everyone"}, {UserID: "carol", Reason: "everyone"}},
		},
		{
			general,
			nodetest.Body{"content": " <b>\u2028 & \"\\ 🙂\r\n\t"},
			[]string{},
			[]nodetest.Wakeup{{UserID: "bob", Reason: "everyone"}, {UserID: "carol", Reason: "everyone"}},
		},
	} {
		got := nodetest.Call[nodetest.Posted](t, alice, 201, "POST",
			"/api/channels/"+tt.channel.ID+"/messages", tt.body)
		if id, err := uuid.Parse(got.Message.ID); err != nil || id.Version() != 7 ||
			!nodetest.IsTime(got.Message.CreatedAt) {
			t.Errorf("%v: got %+v, want a UUIDv7 and a time", tt.body, got)
		}
		replyTo, _ := tt.body["replyTo"].(string)
		want := nodetest.Posted{
			Message: nodetest.Message{
				ID: got.Message.ID, ChannelID: tt.channel.ID, GuildID: "g1", XType: tt.channel.XType,
				AuthorUserID: "alice", AuthorKind: "human",
				Content: tt.body["content"].(string), MentionUserIDs: tt.mentions, ReplyTo: replyTo,
				CreatedAt: got.Message.CreatedAt,
			},
			Cursor: got.Cursor, Wakeups: tt.wakeups, WakeupCount: len(tt.wakeups),
		}
		if replyTo != "" {
			want.Message.ReplyToUserID = "alice"
		}
		if strings.Contains(want.Message.Content, "<@dave>") {
			want.Hints = []nodetest.Hint{
				{Code: "not_a_member", Detail: got.Hints[0].Detail, UserIDs: []string{"dave"}},
			}
		}
		if diff := cmp.Diff(want, got); diff != "" || nodetest.Seq(got.Cursor) <= nodetest.Seq(first.Cursor) {
			t.Errorf("%v (-want +got):\n%s", tt.body, diff)
		}
		page := nodetest.Call[nodetest.List[nodetest.Message]](t, alice, 200, "GET",
			"/api/channels/"+tt.channel.ID+"/messages?limit=1", nil)
		if diff := cmp.Diff([]nodetest.Message{got.Message}, page.Items); diff != "" {
			t.Errorf("%v in history (-posted +read):\n%s", tt.body, diff)
		}
	}
}

func boundedWakeups(t *testing.T, n *nodetest.Node) {
	alice := n.User("alice")
	members, mentions := []string{}, ""
	for i := range 70 {
		members = append(members, fmt.Sprintf("m%02d", i))
		mentions += fmt.Sprintf("<@m%02d>", i)
	}
	id := alice.General(t, "ops", members...).Channel.ID
	for content, reason := range map[string]string{"all": "everyone", mentions: "mention"} {
		got := alice.Post(t, id, content)
		if len(got.Wakeups) != 20 || got.WakeupCount != 70 ||
			got.Wakeups[19] != (nodetest.Wakeup{UserID: "m19", Reason: reason}) {
			t.Errorf("%q: got %d wakeups of %d, the last %v; want 20 of 70, the last m19", content,
				len(got.Wakeups), got.WakeupCount, got.Wakeups)
		}
	}
}

func history(t *testing.T, n *nodetest.Node) {
	alice := n.User("alice")
	id := alice.General(t, "ops").Channel.ID
	var posts []nodetest.Posted
	for i := range 60 {
		posts = append(posts, alice.Post(t, id, fmt.Sprint(i)))
	}
	path := "/api/channels/" + id + "/messages"
	for _, tt := range []struct {
		query       string
		first, last int // of the page, newest first
		more        bool
	}{
		{"", 59, 10, true},
		{"?limit=200", 59, 0, false},
		{"?limit=60", 59, 0, false},
		{"?limit=2", 59, 58, true},
		{"?before=" + posts[20].Message.ID, 19, 0, false},
		{"?before=" + posts[20].Message.ID + "&limit=5", 19, 15, true},
		{"?after=" + posts[50].Message.ID, 59, 51, false},
		{"?after=" + posts[50].Message.ID + "&limit=3", 59, 57, true},
		{"?after=" + posts[10].Message.ID + "&before=" + posts[13].Message.ID, 12, 11, false},
		{"?before=&after=&limit=", 59, 10, true},
	} {
		got := nodetest.Call[nodetest.List[nodetest.Message]](t, alice, 200, "GET", path+tt.query, nil)
		want := []nodetest.Message{}
		for i := tt.first; i >= tt.last; i-- {
			want = append(want, posts[i].Message)
		}
		if diff := cmp.Diff(want, got.Items); diff != "" || (got.Next != nil) != tt.more {
			t.Errorf("%q: got next %v, want one: %v (-want +got):\n%s", tt.query, got.Next, tt.more, diff)
		}
	}
	all := nodetest.Everything[nodetest.Message](t, alice, path+"?limit=7", "before")
	slices.Reverse(all)
	got := []string{}
	for _, m := range all {
		got = append(got, m.Content)
	}
	if diff := cmp.Diff(alice.History(t, id), got); diff != "" || len(got) != 60 {
		t.Errorf("page by page (-at once +in pages):\n%s", diff)
	}
	if got := nodetest.Call[nodetest.List[nodetest.Message]](t, alice, 200, "GET", path+"?before="+
		posts[0].Message.ID, nil); got.Items == nil || len(got.Items) != 0 || got.Next != nil {
		t.Errorf("got %+v, want an empty list", got)
	}
}

// What was said before a member joined, or while the member was away, did not wake the member. It does not
// look so where the member may read it.
func historyOfOthersTimes(t *testing.T, n *nodetest.Node) {
	alice, eve := n.User("alice"), n.User("eve")
	id := nodetest.Call[nodetest.Created](t, alice, 201, "POST", "/api/channels", nodetest.Body{
		"guildId": "g1", "name": "ops", "xType": "general", "history": "all",
	}).Channel.ID
	alice.Post(t, id, "before")
	eve.Join(t, id)
	heard := alice.Post(t, id, "heard").Message.ID
	nodetest.Call[nodetest.Body](t, eve, 200, "PUT", "/api/channels/"+id+"/read",
		nodetest.Body{"messageId": heard})
	eve.Leave(t, id)
	alice.Post(t, id, "away")
	eve.Join(t, id)
	alice.Post(t, id, "heard again")

	want := func(m nodetest.FullHeard, from string) {
		t.Helper()
		reason := ""
		if strings.HasPrefix(m.Content, "heard") {
			reason = "everyone"
		}
		if m.WakeReason != reason || m.Wakeup != (reason != "") {
			t.Errorf("%s: got wakeup %v, %q with %q, want the reason %q, as streams had it", from, m.Wakeup,
				m.WakeReason, m.Content, reason)
		}
	}
	all := nodetest.Call[nodetest.List[nodetest.FullHeard]](t, eve, 200, "GET", nodetest.PathOf(id), nil)
	if len(all.Items) != 4 {
		t.Errorf("got %d messages, want 4", len(all.Items))
	}
	for _, m := range all.Items {
		want(m, "history")
		want(nodetest.Call[struct{ Message nodetest.FullHeard }](t, eve, 200, "GET", "/api/messages/"+m.ID,
			nil).Message, "message")
	}
	list := nodetest.Call[nodetest.List[nodetest.Body]](t, eve, 200, "GET", "/api/channels?unread=true", nil)
	if c := list.Items[0]; fmt.Sprint(c["unread"], c["unreadWakes"]) != "2 1" {
		t.Errorf("got %v, want 2 unread messages, of which 1 wakes", c)
	}
}

func roster(t *testing.T, n *nodetest.Node) {
	alice := n.User("alice")
	members := []string{}
	for i := range 230 {
		members = append(members, fmt.Sprintf("m%03d", 229-i)) // listed order, not that of the alphabet
	}
	id := alice.General(t, "ops", members...).Channel.ID
	n.User("late").Join(t, id)
	alice.Add(t, id, "added")
	alice.Remove(t, id, "m200")
	n.User("m100").Leave(t, id)
	n.User("m100").Join(t, id)
	gone := func(m string) bool { return m == "m200" || m == "m100" }
	want := slices.Concat([]string{"alice"}, slices.DeleteFunc(members, gone),
		[]string{"late", "added", "m100"})
	for _, limit := range []int{200, 50, 7} {
		got := nodetest.Everything[nodetest.Member](t, alice,
			fmt.Sprintf("/api/channels/%s/members?limit=%d", id, limit), "after")
		if diff := cmp.Diff(want, userIDs(got)); diff != "" {
			t.Errorf("limit %d (-want +got):\n%s", limit, diff)
		}
		if !nodetest.IsTime(got[0].JoinedAt) {
			t.Errorf("got joinedAt %q, want a time", got[0].JoinedAt)
		}
	}
	one := nodetest.Call[nodetest.Roomy](t, alice, 200, "GET", "/api/channels/"+id, nil)
	if diff := cmp.Diff(want[:200], userIDs(one.Members)); diff != "" || one.MemberCount != len(want) {
		t.Errorf("the channel: got %d members, want %d (-want +got):\n%s", one.MemberCount, len(want), diff)
	}
}

func TestSyncIsExactAsOfItsCursor(t *testing.T) {
	t.Parallel()
	nodetest.OverTransports(t, func(t *testing.T, n *nodetest.Node, over nodetest.Transport) {
		alice, bob := n.User("alice"), n.User("bob")
		if got := alice.Sync(t); got.UserID != "alice" || len(got.Channels) != 0 || got.Channels == nil {
			t.Errorf("got %+v, want an empty list", got)
		}
		one := alice.General(t, "one")
		two := bob.Create(t, nodetest.NewChannel{GuildID: "g2", XType: "dm", Members: []string{"alice"}})
		alice.Leave(t, alice.General(t, "left").Channel.ID)
		last := bob.General(t, "bob's own")
		got := alice.Sync(t)
		if diff := cmp.Diff(nodetest.SyncData{
			Cursor: last.Cursor, UserID: "alice",
			Channels: []nodetest.Channel{one.Channel, two.Channel},
		}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if got := n.User("alice", "g2").Sync(t).Channels; !cmp.Equal(got, []nodetest.Channel{two.Channel}) {
			t.Errorf("for one guild: got %v, want %v", got, two.Channel)
		}
		missed := bob.Post(t, two.Channel.ID, "hi")
		if got := nodetest.IDs(alice.Resume(t, over, "", got.Cursor).Until(t, missed.Cursor)); !cmp.Equal(got,
			[]string{missed.Cursor}) {
			t.Errorf("a stream that goes on from it: got %q, want %q", got, missed.Cursor)
		}
	})
}
