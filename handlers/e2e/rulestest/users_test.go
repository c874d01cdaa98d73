package rulestest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/db/dbtest"
	"fabric-guild/events"
	"fabric-guild/events/ssetest"
	"fabric-guild/handlers/auth"
	"fabric-guild/handlers/center/centertest"
	"fabric-guild/handlers/e2e/nodetest"
)

func me(t testing.TB, u *nodetest.User) nodetest.ListedUser {
	t.Helper()
	return nodetest.Call[nodetest.MeData](t, u, 200, "GET", "/api/me", nil).ListedUser
}

// message returns the next message that a stream shows.
func message(t *testing.T, s *nodetest.Stream) nodetest.Heard {
	t.Helper()
	f := s.Next(t)
	for f.Event != "message.created" {
		f = s.Next(t)
	}
	return nodetest.Data[nodetest.Heard](t, f, "message.created")
}

// letAuthoritySpeak ends the minute in which the authority may not change the rows of users again.
func letAuthoritySpeak(t *testing.T, n *nodetest.Node) {
	t.Helper()
	_, err := dbtest.Connect(t, n.Database).Exec(t.Context(),
		`UPDATE users SET told_at = told_at - interval '2 minutes'`)
	if err != nil {
		t.Fatal(err)
	}
}

func TestAUserSaysWhoTheyAre(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	bob := n.User("bob")
	n.User("alice").General(t, "ops", "bob")
	if got := me(t, bob); got != (nodetest.ListedUser{UserID: "bob", Kind: "human", DisplayName: ""}) {
		t.Errorf("got %v, want a human without a name", got)
	}
	family := strings.Repeat("👩‍👩‍👧", 12) // 5 code points each
	for _, tt := range []struct {
		name   string
		b      nodetest.Body
		status int
		code   string
		want   nodetest.ListedUser
	}{
		{
			"a name",
			nodetest.Body{"displayName": "Bob the builder"},
			200, "",
			nodetest.ListedUser{UserID: "bob", Kind: "human", DisplayName: "Bob the builder"},
		},
		{
			"64 emoji",
			nodetest.Body{"displayName": strings.Repeat("🙂", 64)},
			200, "",
			nodetest.ListedUser{UserID: "bob", Kind: "human", DisplayName: strings.Repeat("🙂", 64)},
		},
		{
			"65 emoji",
			nodetest.Body{"displayName": strings.Repeat("🙂", 65)},
			422, "invalid",
			nodetest.ListedUser{},
		},
		{
			"300 emoji",
			nodetest.Body{"displayName": strings.Repeat("🙂", 300)},
			422, "invalid",
			nodetest.ListedUser{},
		},
		{
			"60 code points in 12 emoji",
			nodetest.Body{"displayName": family},
			200, "",
			nodetest.ListedUser{UserID: "bob", Kind: "human", DisplayName: family},
		},
		{"a line end", nodetest.Body{"displayName": "Bob\nadmin"}, 422, "invalid", nodetest.ListedUser{}},
		{
			"a control character",
			nodetest.Body{"displayName": "Bob\u0007"},
			422, "invalid",
			nodetest.ListedUser{},
		},
		{
			"text that runs backwards",
			nodetest.Body{"displayName": "Bob \u202enimda"},
			422, "invalid",
			nodetest.ListedUser{},
		},
		{
			"nothing visible",
			nodetest.Body{"displayName": "\u200b \u3164"},
			422, "invalid",
			nodetest.ListedUser{},
		},
		{"the id of another", nodetest.Body{"displayName": "alice"}, 422, "invalid", nodetest.ListedUser{}},
		{
			"the id of another in capitals",
			nodetest.Body{"displayName": "ALICE"},
			422, "invalid",
			nodetest.ListedUser{},
		},
		{
			"their own id",
			nodetest.Body{"displayName": "bob"},
			200, "",
			nodetest.ListedUser{UserID: "bob", Kind: "human", DisplayName: "bob"},
		},
		{
			"no name",
			nodetest.Body{"displayName": ""},
			200, "",
			nodetest.ListedUser{UserID: "bob", Kind: "human", DisplayName: ""},
		},
		{"no kind", nodetest.Body{"kind": "robot"}, 422, "invalid", nodetest.ListedUser{}},
		{"nothing", nodetest.Body{}, 400, "malformed", nodetest.ListedUser{}},
		{
			"a human",
			nodetest.Body{"kind": "human"},
			200, "",
			nodetest.ListedUser{UserID: "bob", Kind: "human", DisplayName: ""},
		},
		{
			"an agent",
			nodetest.Body{"kind": "agent", "displayName": "B"},
			200, "",
			nodetest.ListedUser{UserID: "bob", Kind: "agent", DisplayName: "B"},
		},
		{
			"an agent again",
			nodetest.Body{"kind": "agent"},
			200, "",
			nodetest.ListedUser{UserID: "bob", Kind: "agent", DisplayName: "B"},
		},
		{
			"a human again, with a name",
			nodetest.Body{"kind": "human", "displayName": "C"},
			422, "invalid",
			nodetest.ListedUser{},
		},
	} {
		if tt.status != 200 {
			before := me(t, bob)
			bob.WantRefused(t, tt.status, tt.code, "PATCH", "/api/me", tt.b)
			if got := me(t, bob); got != before {
				t.Errorf("%s: got %v after a refusal, want %v", tt.name, got, before)
			}
			continue
		}
		if got := nodetest.Call[nodetest.MeData](t, bob, 200, "PATCH", "/api/me",
			tt.b).ListedUser; got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
		if got := me(t, bob); got != tt.want {
			t.Errorf("%s: got %v later, want %v", tt.name, got, tt.want)
		}
	}
}

func TestATokenSaysWhoAUserIs(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	bob := n.User("bob")
	c := n.User("alice").General(t, "ops", "bob").Channel.ID
	nodetest.Call[nodetest.MeData](t, bob, 200, "PATCH", "/api/me", nodetest.Body{"displayName": "Bobby"})
	early := bob.Post(t, c, "as a human")
	if early.Message.AuthorKind != "human" || early.Message.AuthorName != "Bobby" {
		t.Errorf("got %+v, want a human named Bobby", early.Message)
	}

	agent := n.Claims("bob", auth.Claim{Kind: events.Agent, Name: "Bob's agent"})
	late := agent.Post(t, c, "as an agent") // the first request with this token
	if late.Message.AuthorKind != "agent" || late.Message.AuthorName != "Bob's agent" {
		t.Errorf("got %+v, want an agent with the name of the token", late.Message)
	}
	// What everyone sees now: the kind and the name as they are, on both messages.
	for _, reader := range []*nodetest.User{n.User("alice"), bob, agent} {
		page := nodetest.Call[struct {
			Items []nodetest.Message `json:"items"`
			Next  *string            `json:"next"`
		}](t, reader, 200, "GET", "/api/channels/"+c+"/messages", nil)
		for _, m := range page.Items {
			if m.AuthorKind != "agent" || m.AuthorName != "Bob's agent" {
				t.Errorf("%s sees %+v, want an agent with the name of the token", reader.ID, m)
			}
		}
	}
	// Each message still says what its author was.
	var stored []bool
	rows, err := dbtest.Connect(t, n.Database).Query(t.Context(),
		`SELECT by_agent FROM messages ORDER BY seq`)
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var by bool
		if err := rows.Scan(&by); err != nil {
			t.Fatal(err)
		}
		stored = append(stored, by)
	}
	if diff := cmp.Diff([]bool{false, true}, stored); diff != "" {
		t.Errorf("by_agent (-want +got):\n%s", diff)
	}
	// The user can no longer change what the token says, not even with a token that says nothing.
	for _, u := range []*nodetest.User{agent, bob} {
		u.WantRefused(t, 409, "set_by_authority", "PATCH", "/api/me", nodetest.Body{"displayName": "Robert"})
		u.WantRefused(t, 409, "set_by_authority", "PATCH", "/api/me", nodetest.Body{"kind": "human"})
	}
	if got := me(t, bob); got != (nodetest.ListedUser{
		UserID: "bob", Kind: "agent",
		DisplayName: "Bob's agent",
	}) {
		t.Errorf("got %v with a token that says nothing, want what the other said", got)
	}
}

func TestTheNewerTokenCounts(t *testing.T) {
	t.Parallel()
	fake := centertest.New(t)
	n := nodetest.Start(t, nodetest.Setup{Center: fake})
	at := time.Now().Add(-time.Hour)
	for i, name := range []string{"first", "second", "third"} {
		fake.SetToken(name, centertest.Token{
			UserID: "bob", Kind: "human", DisplayName: name,
			IssuedAt: at.Add(time.Duration(i) * time.Minute),
		})
	}
	for _, tt := range []struct{ token, want string }{
		{"second", "second"},
		{"first", "second"},
		{"third", "third"},
		{"first", "third"},
	} {
		letAuthoritySpeak(t, n)
		// Each node asks for itself. So the minute in which a node believes itself does not matter here.
		fresh := nodetest.Start(t, nodetest.Setup{Center: fake, Database: n.Database})
		if got := me(t, (&nodetest.User{
			Node: fresh, ID: "bob",
			Token: tt.token,
		})); got != (nodetest.ListedUser{
			UserID: "bob", Kind: "human",
			DisplayName: tt.want,
		}) {
			t.Errorf("after a request with the %s token: got %v, want %s", tt.token, got, tt.want)
		}
	}
	// The authority says human: opening a queue changes nothing.
	bob := n.As("bob", "third")
	bob.Claim(t, nodetest.Body{})
	if got := me(t, bob).Kind; got != "human" {
		t.Errorf("got %s, want a human, as Center says", got)
	}
	bob.WantRefused(t, 409, "set_by_authority", "PATCH", "/api/me", nodetest.Body{"kind": "agent"})
}

func TestACenterThatSaysNothing(t *testing.T) {
	t.Parallel()
	fake := centertest.New(t)
	n := nodetest.Start(t, nodetest.Setup{Center: fake})
	bob := n.User("bob")
	if got := me(t, bob); got != (nodetest.ListedUser{UserID: "bob", Kind: "human", DisplayName: ""}) {
		t.Errorf("got %v, want a human without a name", got)
	}
	nodetest.Call[nodetest.MeData](t, bob, 200, "PATCH", "/api/me",
		nodetest.Body{"displayName": "Bob", "kind": "agent"})
	if got := me(t, bob); got != (nodetest.ListedUser{UserID: "bob", Kind: "agent", DisplayName: "Bob"}) {
		t.Errorf("got %v, want what bob said", got)
	}
	// What Center says wrongly counts as not said. Nobody is kept out for it.
	fake.SetToken("odd", centertest.Token{
		UserID: "carol", Kind: "robot",
		DisplayName: strings.Repeat("🙂", 300),
	})
	if got := me(t, n.As("carol", "odd")); got != (nodetest.ListedUser{
		UserID: "carol", Kind: "human",
		DisplayName: "",
	}) {
		t.Errorf("got %v, want a human without a name", got)
	}
	fake.SetToken("thief", centertest.Token{UserID: "dave", DisplayName: "bob", Kind: "agent"})
	if got := me(t, n.As("dave", "thief")); got != (nodetest.ListedUser{
		UserID: "dave", Kind: "agent",
		DisplayName: "",
	}) {
		t.Errorf("got %v, want an agent without bob's id as name", got)
	}
}

// A claim is stored at most once a minute, whatever the tokens say.
func TestTheAuthorityChangesAUserOnceAMinute(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	for i := range 5 {
		me(t, n.Claims("bob", auth.Claim{Name: fmt.Sprint("Bob ", i)}))
	}
	if got := me(t, n.User("bob")).DisplayName; got != "Bob 0" {
		t.Errorf("got %q within the minute, want Bob 0", got)
	}
}

func TestAQueueMakesAnAgent(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	bob := n.User("bob")
	c := n.User("alice").General(t, "ops", "bob").Channel.ID
	bob.Claim(t, nodetest.Body{})
	if got := me(t, bob).Kind; got != "agent" {
		t.Errorf("got %s with a queue, want an agent", got)
	}
	if a, err := bob.Do("DELETE", "/api/wakes", nil); err != nil || a.Status != 204 {
		t.Fatalf("got %v and error %v, want 204", a, err)
	}
	if got := bob.Post(t, c, "still here").Message.AuthorKind; got != "agent" {
		t.Errorf("got %s after the queue was closed, want an agent", got)
	}
}

// A message by a human ends the pause of a wake. A message by an agent does not, even if the agent has no
// queue.
func TestOnlyAHumanEndsAPause(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	alice, carol := n.User("alice"), n.User("carol")
	c := alice.General(t, "ops", "carol", "bot").Channel.ID
	carol.Claim(t, nodetest.Body{})
	alice.Post(t, c, "do it")
	w := carol.Wake(t, nodetest.Body{})
	if a, err := carol.Do("POST", "/api/wakes/"+w.ID+"/nack", nodetest.Body{"error": "no"}); err != nil ||
		a.Status != 204 {
		t.Fatalf("got %v and error %v, want 204", a, err)
	}
	_, err := dbtest.Connect(t, n.Database).Exec(t.Context(),
		`UPDATE wakes SET not_before = now() + interval '1 hour'`)
	if err != nil {
		t.Fatal(err)
	}
	n.Claims("bot", auth.Claim{Kind: events.Agent}).Post(t, c, "thanks")
	n.Settle(t)
	if w := carol.Claim(t, nodetest.Body{}); w != nil {
		t.Errorf("got a wake after a message by an agent, want none: %v", nodetest.Texts(w.Messages))
	}
	alice.Post(t, c, "try again")
	if w := carol.Wake(t, nodetest.Body{}); len(w.Messages) != 3 {
		t.Errorf("got %v after a message by a human, want all three messages", nodetest.Texts(w.Messages))
	}
}

// A rename is seen in answers, the history, the roster, the queue, and by streams that resume from memory or
// from the database, on every server.
func TestARenameIsSeenByEveryone(t *testing.T) {
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

// usersSeen lists users as someone.
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
		"?ids=" + strings.Repeat("x,", 100) + "x", "?ids=a&q=b", "?ids=a,,b", "?limit=0", "?all=true",
	} {
		n.User("bob").WantRefused(t, 400, "malformed", "GET", "/api/users"+query, nil)
	}
}
