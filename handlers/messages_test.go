package handlers_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

func TestPostMessage(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	alice := n.user("alice")
	general := alice.general(t, "ops", "bob", "carol").Channel
	report := alice.create(t, newChannel{GuildID: "g1", Name: "news", XType: "report", Members: []string{"bob"}}).Channel
	dm := alice.create(t, newChannel{GuildID: "g1", XType: "dm", Members: []string{"bob"}}).Channel
	alone := alice.general(t, "alone").Channel
	first := alice.post(t, general.ID, "first")
	for _, tt := range []struct {
		channel  channel
		body     body
		mentions []string
		wakeups  []wakeup
	}{
		{general, body{"content": "hi", "replyTo": first.Message.ID}, []string{}, []wakeup{{"bob", "everyone"}, {"carol", "everyone"}}},
		{general, body{"content": "<@carol> <@bob> <@carol>", "replyTo": nil}, []string{"carol", "bob"}, []wakeup{{"carol", "mention"}, {"bob", "mention"}}},
		{general, body{"content": "<@alice> <@dave>"}, []string{}, []wakeup{{"bob", "everyone"}, {"carol", "everyone"}}},
		{report, body{"content": "<@bob>"}, []string{"bob"}, []wakeup{}},
		{dm, body{"content": "you"}, []string{}, []wakeup{{"bob", "direct"}}},
		{alone, body{"content": "echo?"}, []string{}, []wakeup{}},
		{general, body{"content": strings.Repeat("é", 8<<10)}, []string{}, []wakeup{{"bob", "everyone"}, {"carol", "everyone"}}},
		{general, body{"content": " <b>\u2028 & \"\\ 🙂\r\n\t"}, []string{}, []wakeup{{"bob", "everyone"}, {"carol", "everyone"}}},
	} {
		got := call[posted](t, alice, 201, "POST", "/api/channels/"+tt.channel.ID+"/messages", tt.body)
		if id, err := uuid.Parse(got.Message.ID); err != nil || id.Version() != 7 || !isTime(got.Message.CreatedAt) {
			t.Errorf("%v: got %+v, want a UUIDv7 and a time", tt.body, got)
		}
		replyTo, _ := tt.body["replyTo"].(string)
		want := posted{
			Message: Message{
				ID: got.Message.ID, ChannelID: tt.channel.ID, GuildID: "g1", XType: tt.channel.XType, AuthorUserID: "alice", AuthorKind: "human",
				Content: tt.body["content"].(string), MentionUserIDs: tt.mentions, ReplyTo: replyTo, CreatedAt: got.Message.CreatedAt,
			},
			Cursor: got.Cursor, Wakeups: tt.wakeups, WakeupCount: len(tt.wakeups),
		}
		if replyTo != "" {
			want.Message.ReplyToUserID = "alice"
		}
		if strings.Contains(want.Message.Content, "<@dave>") {
			want.Hints = []hint{{"not_a_member", got.Hints[0].Detail, []string{"dave"}}}
		}
		if diff := cmp.Diff(want, got); diff != "" || seq(got.Cursor) <= seq(first.Cursor) {
			t.Errorf("%v (-want +got):\n%s", tt.body, diff)
		}
		page := call[list[Message]](t, alice, 200, "GET", "/api/channels/"+tt.channel.ID+"/messages?limit=1", nil)
		if diff := cmp.Diff([]Message{got.Message}, page.Items); diff != "" {
			t.Errorf("%v in history (-posted +read):\n%s", tt.body, diff)
		}
	}
}

func TestWakeupsAreBoundedAndCounted(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	alice := n.user("alice")
	members, mentions := []string{}, ""
	for i := range 70 {
		members = append(members, fmt.Sprintf("m%02d", i))
		mentions += fmt.Sprintf("<@m%02d>", i)
	}
	id := alice.general(t, "ops", members...).Channel.ID
	for content, reason := range map[string]string{"all": "everyone", mentions: "mention"} {
		got := alice.post(t, id, content)
		if len(got.Wakeups) != 20 || got.WakeupCount != 70 || got.Wakeups[19] != (wakeup{"m19", reason}) {
			t.Errorf("%q: got %d wakeups of %d, the last %v; want 20 of 70, the last m19", content, len(got.Wakeups), got.WakeupCount, got.Wakeups)
		}
	}
}

func TestHistory(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	alice := n.user("alice")
	id := alice.general(t, "ops").Channel.ID
	var posts []posted
	for i := range 60 {
		posts = append(posts, alice.post(t, id, fmt.Sprint(i)))
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
		got := call[list[Message]](t, alice, 200, "GET", path+tt.query, nil)
		want := []Message{}
		for i := tt.first; i >= tt.last; i-- {
			want = append(want, posts[i].Message)
		}
		if diff := cmp.Diff(want, got.Items); diff != "" || (got.Next != nil) != tt.more {
			t.Errorf("%q: got next %v, want one: %v (-want +got):\n%s", tt.query, got.Next, tt.more, diff)
		}
	}
	all := everything[Message](t, alice, path+"?limit=7", "before")
	slices.Reverse(all)
	got := []string{}
	for _, m := range all {
		got = append(got, m.Content)
	}
	if diff := cmp.Diff(alice.history(t, id), got); diff != "" || len(got) != 60 {
		t.Errorf("page by page (-at once +in pages):\n%s", diff)
	}
	if got := call[list[Message]](t, alice, 200, "GET", path+"?before="+posts[0].Message.ID, nil); got.Items == nil || len(got.Items) != 0 || got.Next != nil {
		t.Errorf("got %+v, want an empty list", got)
	}
}

func TestRoster(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	alice := n.user("alice")
	members := []string{}
	for i := range 230 {
		members = append(members, fmt.Sprintf("m%03d", 229-i)) // listed order, not that of the alphabet
	}
	id := alice.general(t, "ops", members...).Channel.ID
	n.user("late").join(t, id)
	alice.add(t, id, "added")
	alice.remove(t, id, "m200")
	n.user("m100").leave(t, id)
	n.user("m100").join(t, id)
	gone := func(m string) bool { return m == "m200" || m == "m100" }
	want := slices.Concat([]string{"alice"}, slices.DeleteFunc(members, gone), []string{"late", "added", "m100"})
	for _, limit := range []int{200, 50, 7} {
		got := everything[member](t, alice, fmt.Sprintf("/api/channels/%s/members?limit=%d", id, limit), "after")
		if diff := cmp.Diff(want, userIDs(got)); diff != "" {
			t.Errorf("limit %d (-want +got):\n%s", limit, diff)
		}
		if !isTime(got[0].JoinedAt) {
			t.Errorf("got joinedAt %q, want a time", got[0].JoinedAt)
		}
	}
	one := call[roomy](t, alice, 200, "GET", "/api/channels/"+id, nil)
	if diff := cmp.Diff(want[:200], userIDs(one.Members)); diff != "" || one.MemberCount != len(want) {
		t.Errorf("the channel: got %d members, want %d (-want +got):\n%s", one.MemberCount, len(want), diff)
	}
}

func TestSyncIsExactAsOfItsCursor(t *testing.T) {
	t.Parallel()
	overTransports(t, func(t *testing.T, n *node, over transport) {
		alice, bob := n.user("alice"), n.user("bob")
		if got := alice.sync(t); got.UserID != "alice" || len(got.Channels) != 0 || got.Channels == nil {
			t.Errorf("got %+v, want an empty list", got)
		}
		one := alice.general(t, "one")
		two := bob.create(t, newChannel{GuildID: "g2", XType: "dm", Members: []string{"alice"}})
		alice.leave(t, alice.general(t, "left").Channel.ID)
		last := bob.general(t, "bob's own")
		got := alice.sync(t)
		if diff := cmp.Diff(syncData{last.Cursor, "alice", []channel{one.Channel, two.Channel}}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if got := n.user("alice", "g2").sync(t).Channels; !cmp.Equal(got, []channel{two.Channel}) {
			t.Errorf("for one guild: got %v, want %v", got, two.Channel)
		}
		missed := bob.post(t, two.Channel.ID, "hi")
		if got := ids(alice.resume(t, over, "", got.Cursor).until(t, missed.Cursor)); !cmp.Equal(got, []string{missed.Cursor}) {
			t.Errorf("a stream that goes on from it: got %q, want %q", got, missed.Cursor)
		}
	})
}
