package rulestest_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/db/dbtest"
	"fabric-guild/events/ssetest"
	"fabric-guild/handlers/e2e/nodetest"
)

// A rename is seen in answers, the history, the roster, the queue, and by streams that resume from memory or
// from the database, on every server.
func TestARenameIsSeenByEveryone(t *testing.T) {
	dbtest.Long(t) // TestChannels is fast
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	other := nodetest.Start(t, nodetest.Setup{Database: n.Database, State: n.State})
	alice, bob, carol := n.User("alice"), n.User("bob"), n.User("carol")
	c := alice.General(t, "ops", "bob", "carol").Channel.ID
	live, ready := alice.Fresh(t, nodetest.Raw, "")
	carol.Claim(t, nodetest.Body{})
	nodetest.Call[nodetest.MeData](t, bob, 200, "PATCH", "/api/me", nodetest.Body{"displayName": "Old"})
	first := bob.Post(t, c, "first")
	if m := message(t, live); m.AuthorName != "Old" || m.AuthorKind != "human" {
		t.Errorf("live: got %+v, want a human named Old", m.Message)
	}
	nodetest.Call[nodetest.MeData](t, bob, 200, "PATCH", "/api/me",
		nodetest.Body{"displayName": "New", "kind": "agent"})
	second := nodetest.Call[nodetest.Posted](t, bob, 201, "POST", "/api/channels/"+c+"/messages",
		nodetest.Body{"content": "second", "replyTo": first.Message.ID})
	if m := second.Message; m.AuthorName != "New" || m.AuthorKind != "agent" || m.ReplyToUserID != "bob" {
		t.Errorf("answer: got %+v, want an agent named New that replies to bob", m)
	}
	if m := message(t, live); m.AuthorName != "New" || m.ReplyToUserID != "bob" {
		t.Errorf("live: got %+v, want New, replying to bob", m.Message)
	}
	for _, at := range []*nodetest.Node{n, other} {
		at.Settle(t)
		reader := alice.At(at)
		if !ssetest.Await(func() bool { // a poll is cheaper than a stream, and reads the same memory
			return !slices.ContainsFunc(reader.Poll(t, "after="+ready.Cursor).Items,
				func(i nodetest.PollItem) bool {
					return strings.Contains(string(i.Data), "Old")
				})
		}) {
			t.Errorf("%s: a poll shows the old name", at.Label)
		}
		s := reader.Resume(t, nodetest.Raw, "", ready.Cursor)
		for _, want := range []string{"first", "second"} {
			if m := message(t, s); m.Content != want || m.AuthorName != "New" || m.AuthorKind != "agent" {
				t.Errorf("%s: a resumed stream shows %+v, want the message %s of an agent named New",
					at.Label, m.Message, want)
			}
		}
		s.Close()
	}
	late := nodetest.Start(t, nodetest.Setup{Database: n.Database, State: n.State}) // has nothing in memory
	s := alice.At(late).Resume(t, nodetest.Raw, "", ready.Cursor)
	if m := message(t, s); m.AuthorName != "New" {
		t.Errorf("from the database: got %+v, want New", m.Message)
	}
	w := carol.Wake(t, nodetest.Body{})
	for _, m := range w.Messages {
		if m.AuthorName != "New" || m.AuthorKind != "agent" {
			t.Errorf("queue: got %+v, want an agent named New", m)
		}
	}
	one := nodetest.Call[struct {
		Message nodetest.Message `json:"message"`
	}](t, carol, 200, "GET", "/api/messages/"+second.Message.ID, nil).Message
	if one.AuthorName != "New" || one.ReplyToUserID != "bob" || one.Wakeup == nil {
		t.Errorf("one message: got %+v, want it as in the history", one)
	}
	roster := nodetest.Call[struct {
		Items []nodetest.Member `json:"items"`
		Next  *string           `json:"next"`
	}](t, carol, 200, "GET", "/api/channels/"+c+"/members", nil)
	if got := roster.Items[1]; got.Name != "New" || got.Kind != "agent" || roster.Items[2].Kind != "agent" ||
		roster.Items[0].Kind != "human" {
		t.Errorf("roster: got %+v, want bob as an agent named New, and carol with her queue as one",
			roster.Items)
	}
}

// usersSeen returns the users that u may list.
func usersSeen(t *testing.T, u *nodetest.User, query string) (ids []string, next string) {
	t.Helper()
	page := nodetest.Call[struct {
		Items []nodetest.ListedUser `json:"items"`
		Next  *string               `json:"next"`
	}](t, u, 200, "GET", "/api/users"+query, nil)
	for _, item := range page.Items {
		ids = append(ids, item.UserID)
	}
	if page.Next != nil {
		next = *page.Next
	}
	return ids, next
}

func TestWhomAUserMayKnow(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	owner := n.User("owner")
	public := owner.Create(t, nodetest.NewChannel{
		GuildID: "g1", Name: "ops", XType: "general",
		Members: []string{"ann", "gone"},
	}).Channel.ID
	n.User("gone").Leave(t, public)
	owner.Create(t, nodetest.NewChannel{
		GuildID: "g1", Name: "secret", XType: "general", Private: true,
		Members: []string{"hidden", "bob"},
	})
	left := owner.Create(t, nodetest.NewChannel{
		GuildID: "g1", Name: "left", XType: "general", Private: true,
		Members: []string{"leaver", "bob"},
	}).Channel.ID
	n.User("leaver").Leave(t, left)
	owner.Create(t, nodetest.NewChannel{GuildID: "g1", XType: "dm", Members: []string{"friend"}})
	n.User("zed").General(t, "other") // creates in g1
	n.User("far").Create(t, nodetest.NewChannel{GuildID: "g2", Name: "far", XType: "general"})
	nodetest.Call[nodetest.MeData](t, n.User("ann"), 200, "PATCH", "/api/me",
		nodetest.Body{"displayName": "Ann OPS"})
	inG1 := []string{"ann", "gone", "owner", "zed"}
	for _, tt := range []struct {
		who    *nodetest.User
		query  string
		want   []string
		remark string
	}{
		{n.User("stranger"), "?guildId=g1", inG1, "who is or was in a channel to join"},
		{n.User("stranger"), "", []string{"ann", "far", "gone", "owner", "zed"}, "of all guilds"},
		{n.User("stranger", "g1"), "", inG1, "of the token's guild"},
		{
			n.User("bob"), "?guildId=g1",
			[]string{"ann", "bob", "gone", "hidden", "owner", "zed"},
			"who shares a private channel, too; not who left it",
		},
		{
			n.User("friend"), "?guildId=g1",
			[]string{"ann", "friend", "gone", "owner", "zed"},
			"who shares a dm, too",
		},
		{n.User("bob"), "?guildId=g2", []string{"far"}, "of one guild"},
		{
			n.User("bob", "g2"), "",
			[]string{"far"},
			"a private channel of another guild than the token's does not count",
		},
		{n.User("bob"), "?q=OPS", []string{"ann"}, "a part of the name"},
		{n.User("bob"), "?q=e", []string{"gone", "hidden", "owner", "zed"}, "a part of the id"},
		{n.User("stranger"), "?q=hidden", nil, "search finds nobody hidden"},
		{
			n.User("bob"), "?ids=hidden,leaver,nobody,ann,ann,friend,far",
			[]string{"ann", "far", "hidden"},
			"by id",
		},
		{n.User("bob", "g1"), "?ids=hidden,far", []string{"hidden"}, "by id in the token's guild"},
		{n.User("stranger"), "?ids=hidden", nil, "by id nobody hidden"},
	} {
		got, next := usersSeen(t, tt.who, tt.query)
		if diff := cmp.Diff(tt.want, got); diff != "" || next != "" {
			t.Errorf("%s, %s %s: next %q, (-want +got):\n%s", tt.remark, tt.who.ID, tt.query, next, diff)
		}
	}
	var paged []string
	for after := ""; ; {
		got, next := usersSeen(t, n.User("bob"), "?guildId=g1&limit=2&after="+after)
		if paged = append(paged, got...); next == "" || len(got) > 2 {
			break
		}
		after = next
	}
	if diff := cmp.Diff([]string{"ann", "bob", "gone", "hidden", "owner", "zed"}, paged); diff != "" {
		t.Errorf("in pages of two (-want +got):\n%s", diff)
	}
	bob := n.User("bob", "g1")
	bob.WantRefused(t, 403, "guild_forbidden", "GET", "/api/users?guildId=g2", nil)
	for _, query := range []string{
		"?guildId=no%20id", "?q=" + strings.Repeat("x", 65), "?after=%20",
		"?ids=" + strings.Repeat("x,", 100) + "x", "?ids=a&q=b", "?ids=a,,b", "?ids=", "?limit=0",
		"?all=true",
	} {
		n.User("bob").WantRefused(t, 400, "malformed", "GET", "/api/users"+query, nil)
	}
}
