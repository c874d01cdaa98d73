package handlers_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"fabric-guild/db/dbtest"
	"fabric-guild/events"
	"fabric-guild/handlers/auth"
	"fabric-guild/handlers/center/centertest"

	"github.com/google/go-cmp/cmp"
)

type ListedUser struct {
	UserID      string `json:"userId"`
	Kind        string `json:"kind"`
	DisplayName string `json:"displayName"`
}

func (u *user) me(t testing.TB) ListedUser {
	t.Helper()
	return call[meData](t, u, 200, "GET", "/api/me", nil).ListedUser
}

// message returns the next message that a stream shows.
func (s *stream) message(t *testing.T) heard {
	t.Helper()
	f := s.next(t)
	for f.event != "message.created" {
		f = s.next(t)
	}
	return data[heard](t, f, "message.created")
}

// claims returns a user whose token says something of the user.
func (n *node) claims(id string, says auth.Claim) *user {
	n.t.Helper()
	token, err := n.tokens.SignClaim(id, nil, time.Hour, says)
	if err != nil {
		n.t.Fatal(err)
	}
	return n.as(id, token)
}

// letAuthoritySpeak ends the minute in which the authority may not change the rows of users again.
func letAuthoritySpeak(t *testing.T, n *node) {
	t.Helper()
	_, err := dbtest.Connect(t, n.database).Exec(t.Context(), `UPDATE users SET told_at = told_at - interval '2 minutes'`)
	if err != nil {
		t.Fatal(err)
	}
}

func TestAUserSaysWhoTheyAre(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	bob := n.user("bob")
	n.user("alice").general(t, "ops", "bob")
	if got := bob.me(t); got != (ListedUser{"bob", "human", ""}) {
		t.Errorf("got %v, want a human without a name", got)
	}
	family := strings.Repeat("👩‍👩‍👧", 12) // 5 code points each
	for _, tt := range []struct {
		name   string
		b      body
		status int
		code   string
		want   ListedUser
	}{
		{"a name", body{"displayName": "Bob the builder"}, 200, "", ListedUser{"bob", "human", "Bob the builder"}},
		{"64 emoji", body{"displayName": strings.Repeat("🙂", 64)}, 200, "", ListedUser{"bob", "human", strings.Repeat("🙂", 64)}},
		{"65 emoji", body{"displayName": strings.Repeat("🙂", 65)}, 422, "invalid", ListedUser{}},
		{"300 emoji", body{"displayName": strings.Repeat("🙂", 300)}, 422, "invalid", ListedUser{}},
		{"60 code points in 12 emoji", body{"displayName": family}, 200, "", ListedUser{"bob", "human", family}},
		{"a line end", body{"displayName": "Bob\nadmin"}, 422, "invalid", ListedUser{}},
		{"a control character", body{"displayName": "Bob\u0007"}, 422, "invalid", ListedUser{}},
		{"text that runs backwards", body{"displayName": "Bob \u202enimda"}, 422, "invalid", ListedUser{}},
		{"nothing visible", body{"displayName": "\u200b \u3164"}, 422, "invalid", ListedUser{}},
		{"the id of another", body{"displayName": "alice"}, 422, "invalid", ListedUser{}},
		{"the id of another in capitals", body{"displayName": "ALICE"}, 422, "invalid", ListedUser{}},
		{"their own id", body{"displayName": "bob"}, 200, "", ListedUser{"bob", "human", "bob"}},
		{"no name", body{"displayName": ""}, 200, "", ListedUser{"bob", "human", ""}},
		{"no kind", body{"kind": "robot"}, 422, "invalid", ListedUser{}},
		{"nothing", body{}, 400, "malformed", ListedUser{}},
		{"a human", body{"kind": "human"}, 200, "", ListedUser{"bob", "human", ""}},
		{"an agent", body{"kind": "agent", "displayName": "B"}, 200, "", ListedUser{"bob", "agent", "B"}},
		{"an agent again", body{"kind": "agent"}, 200, "", ListedUser{"bob", "agent", "B"}},
		{"a human again, with a name", body{"kind": "human", "displayName": "C"}, 422, "invalid", ListedUser{}},
	} {
		if tt.status != 200 {
			before := bob.me(t)
			bob.wantRefused(t, tt.status, tt.code, "PATCH", "/api/me", tt.b)
			if got := bob.me(t); got != before {
				t.Errorf("%s: got %v after a refusal, want %v", tt.name, got, before)
			}
			continue
		}
		if got := call[meData](t, bob, 200, "PATCH", "/api/me", tt.b).ListedUser; got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
		if got := bob.me(t); got != tt.want {
			t.Errorf("%s: got %v later, want %v", tt.name, got, tt.want)
		}
	}
}

func TestATokenSaysWhoAUserIs(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	bob := n.user("bob")
	c := n.user("alice").general(t, "ops", "bob").Channel.ID
	call[meData](t, bob, 200, "PATCH", "/api/me", body{"displayName": "Bobby"})
	early := bob.post(t, c, "as a human")
	if early.Message.AuthorKind != "human" || early.Message.AuthorName != "Bobby" {
		t.Errorf("got %+v, want a human named Bobby", early.Message)
	}

	agent := n.claims("bob", auth.Claim{Kind: events.Agent, Name: "Bob's agent"})
	late := agent.post(t, c, "as an agent") // the first request with this token
	if late.Message.AuthorKind != "agent" || late.Message.AuthorName != "Bob's agent" {
		t.Errorf("got %+v, want an agent with the name of the token", late.Message)
	}
	// What everyone sees now: the kind and the name as they are, on both messages.
	for _, reader := range []*user{n.user("alice"), bob, agent} {
		page := call[struct {
			Items []Message `json:"items"`
			Next  *string   `json:"next"`
		}](t, reader, 200, "GET", "/api/channels/"+c+"/messages", nil)
		for _, m := range page.Items {
			if m.AuthorKind != "agent" || m.AuthorName != "Bob's agent" {
				t.Errorf("%s sees %+v, want an agent with the name of the token", reader.id, m)
			}
		}
	}
	// Each message still says what its author was.
	var stored []bool
	rows, err := dbtest.Connect(t, n.database).Query(t.Context(), `SELECT by_agent FROM messages ORDER BY seq`)
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
	for _, u := range []*user{agent, bob} {
		u.wantRefused(t, 409, "set_by_authority", "PATCH", "/api/me", body{"displayName": "Robert"})
		u.wantRefused(t, 409, "set_by_authority", "PATCH", "/api/me", body{"kind": "human"})
	}
	if got := bob.me(t); got != (ListedUser{"bob", "agent", "Bob's agent"}) {
		t.Errorf("got %v with a token that says nothing, want what the other said", got)
	}
}

func TestTheNewerTokenCounts(t *testing.T) {
	t.Parallel()
	fake := centertest.New(t)
	n := start(t, setup{center: fake})
	at := time.Now().Add(-time.Hour)
	for i, name := range []string{"first", "second", "third"} {
		fake.SetToken(name, centertest.Token{UserID: "bob", Kind: "human", DisplayName: name, IssuedAt: at.Add(time.Duration(i) * time.Minute)})
	}
	for _, tt := range []struct{ token, want string }{{"second", "second"}, {"first", "second"}, {"third", "third"}, {"first", "third"}} {
		letAuthoritySpeak(t, n)
		// Each node asks for itself. So the minute in which a node believes itself does not matter here.
		fresh := start(t, setup{center: fake, database: n.database})
		if got := (&user{fresh, "bob", tt.token}).me(t); got != (ListedUser{"bob", "human", tt.want}) {
			t.Errorf("after a request with the %s token: got %v, want %s", tt.token, got, tt.want)
		}
	}
	// The authority says human: opening a queue changes nothing.
	bob := n.as("bob", "third")
	bob.claim(t, body{})
	if got := bob.me(t).Kind; got != "human" {
		t.Errorf("got %s, want a human, as Center says", got)
	}
	bob.wantRefused(t, 409, "set_by_authority", "PATCH", "/api/me", body{"kind": "agent"})
}

func TestACenterThatSaysNothing(t *testing.T) {
	t.Parallel()
	fake := centertest.New(t)
	n := start(t, setup{center: fake})
	bob := n.user("bob")
	if got := bob.me(t); got != (ListedUser{"bob", "human", ""}) {
		t.Errorf("got %v, want a human without a name", got)
	}
	call[meData](t, bob, 200, "PATCH", "/api/me", body{"displayName": "Bob", "kind": "agent"})
	if got := bob.me(t); got != (ListedUser{"bob", "agent", "Bob"}) {
		t.Errorf("got %v, want what bob said", got)
	}
	// What Center says wrongly counts as not said. Nobody is kept out for it.
	fake.SetToken("odd", centertest.Token{UserID: "carol", Kind: "robot", DisplayName: strings.Repeat("🙂", 300)})
	if got := n.as("carol", "odd").me(t); got != (ListedUser{"carol", "human", ""}) {
		t.Errorf("got %v, want a human without a name", got)
	}
	fake.SetToken("thief", centertest.Token{UserID: "dave", DisplayName: "bob", Kind: "agent"})
	if got := n.as("dave", "thief").me(t); got != (ListedUser{"dave", "agent", ""}) {
		t.Errorf("got %v, want an agent without bob's id as name", got)
	}
}

// A claim is stored at most once a minute, whatever the tokens say.
func TestTheAuthorityChangesAUserOnceAMinute(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	for i := range 5 {
		n.claims("bob", auth.Claim{Name: fmt.Sprint("Bob ", i)}).me(t)
	}
	if got := n.user("bob").me(t).DisplayName; got != "Bob 0" {
		t.Errorf("got %q within the minute, want Bob 0", got)
	}
}

func TestAQueueMakesAnAgent(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	bob := n.user("bob")
	c := n.user("alice").general(t, "ops", "bob").Channel.ID
	bob.claim(t, body{})
	if got := bob.me(t).Kind; got != "agent" {
		t.Errorf("got %s with a queue, want an agent", got)
	}
	if a, err := bob.do("DELETE", "/api/wakes", nil); err != nil || a.status != 204 {
		t.Fatalf("got %v and error %v, want 204", a, err)
	}
	if got := bob.post(t, c, "still here").Message.AuthorKind; got != "agent" {
		t.Errorf("got %s after the queue was closed, want an agent", got)
	}
}

// A message by a human ends the pause of a wake. A message by an agent does not, even if the agent has no queue.
func TestOnlyAHumanEndsAPause(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	alice, carol := n.user("alice"), n.user("carol")
	c := alice.general(t, "ops", "carol", "bot").Channel.ID
	carol.claim(t, body{})
	alice.post(t, c, "do it")
	w := carol.wake(t, body{})
	if a, err := carol.do("POST", "/api/wakes/"+w.ID+"/nack", body{"error": "no"}); err != nil || a.status != 204 {
		t.Fatalf("got %v and error %v, want 204", a, err)
	}
	_, err := dbtest.Connect(t, n.database).Exec(t.Context(), `UPDATE wakes SET not_before = now() + interval '1 hour'`)
	if err != nil {
		t.Fatal(err)
	}
	n.claims("bot", auth.Claim{Kind: events.Agent}).post(t, c, "thanks")
	n.settle(t)
	if w := carol.claim(t, body{}); w != nil {
		t.Errorf("got a wake after a message by an agent, want none: %v", texts(w.Messages))
	}
	alice.post(t, c, "try again")
	if w := carol.wake(t, body{}); len(w.Messages) != 3 {
		t.Errorf("got %v after a message by a human, want all three messages", texts(w.Messages))
	}
}

// A rename is seen in answers, the history, the roster, the queue, and by streams that resume from memory or
// from the database, on every server.
func TestARenameIsSeenByEveryone(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	other := start(t, setup{database: n.database, state: n.state})
	alice, bob, carol := n.user("alice"), n.user("bob"), n.user("carol")
	c := alice.general(t, "ops", "bob", "carol").Channel.ID
	live, ready := alice.fresh(t, raw, "")
	carol.claim(t, body{})
	call[meData](t, bob, 200, "PATCH", "/api/me", body{"displayName": "Old"})
	first := bob.post(t, c, "first")
	if m := live.message(t); m.AuthorName != "Old" || m.AuthorKind != "human" {
		t.Errorf("live: got %+v, want a human named Old", m.Message)
	}
	call[meData](t, bob, 200, "PATCH", "/api/me", body{"displayName": "New", "kind": "agent"})
	second := call[posted](t, bob, 201, "POST", "/api/channels/"+c+"/messages", body{"content": "second", "replyTo": first.Message.ID})
	if m := second.Message; m.AuthorName != "New" || m.AuthorKind != "agent" || m.ReplyToUserID != "bob" {
		t.Errorf("answer: got %+v, want an agent named New that replies to bob", m)
	}
	if m := live.message(t); m.AuthorName != "New" || m.ReplyToUserID != "bob" {
		t.Errorf("live: got %+v, want New, replying to bob", m.Message)
	}
	for _, at := range []*node{n, other} {
		at.settle(t)
		reader := alice.at(at)
		if !eventually(func() bool { // a poll is cheaper than a stream, and reads the same memory
			return !slices.ContainsFunc(reader.poll(t, "after="+ready.Cursor).Items, func(i pollItem) bool {
				return strings.Contains(string(i.Data), "Old")
			})
		}) {
			t.Errorf("%s: a poll shows the old name", at.label)
		}
		s := reader.resume(t, raw, "", ready.Cursor)
		for _, want := range []string{"first", "second"} {
			if m := s.message(t); m.Content != want || m.AuthorName != "New" || m.AuthorKind != "agent" {
				t.Errorf("%s: a resumed stream shows %+v, want the message %s of an agent named New", at.label, m.Message, want)
			}
		}
		s.close()
	}
	late := start(t, setup{database: n.database, state: n.state}) // has nothing in memory
	s := alice.at(late).resume(t, raw, "", ready.Cursor)
	if m := s.message(t); m.AuthorName != "New" {
		t.Errorf("from the database: got %+v, want New", m.Message)
	}
	w := carol.wake(t, body{})
	for _, m := range w.Messages {
		if m.AuthorName != "New" || m.AuthorKind != "agent" {
			t.Errorf("queue: got %+v, want an agent named New", m)
		}
	}
	one := call[struct {
		Message Message `json:"message"`
	}](t, carol, 200, "GET", "/api/messages/"+second.Message.ID, nil).Message
	if one.AuthorName != "New" || one.ReplyToUserID != "bob" || one.Wakeup == nil {
		t.Errorf("one message: got %+v, want it as in the history", one)
	}
	roster := call[struct {
		Items []member `json:"items"`
		Next  *string  `json:"next"`
	}](t, carol, 200, "GET", "/api/channels/"+c+"/members", nil)
	if got := roster.Items[1]; got.Name != "New" || got.Kind != "agent" || roster.Items[2].Kind != "agent" || roster.Items[0].Kind != "human" {
		t.Errorf("roster: got %+v, want bob as an agent named New, and carol with her queue as one", roster.Items)
	}
}

// usersSeen lists users as someone.
func (u *user) usersSeen(t *testing.T, query string) (ids []string, next string) {
	t.Helper()
	page := call[struct {
		Items []ListedUser `json:"items"`
		Next  *string      `json:"next"`
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
	n := start(t, setup{})
	owner := n.user("owner")
	public := owner.create(t, newChannel{GuildID: "g1", Name: "ops", XType: "general", Members: []string{"ann", "gone"}}).Channel.ID
	n.user("gone").leave(t, public)
	owner.create(t, newChannel{GuildID: "g1", Name: "secret", XType: "general", Private: true, Members: []string{"hidden", "bob"}})
	left := owner.create(t, newChannel{GuildID: "g1", Name: "left", XType: "general", Private: true, Members: []string{"leaver", "bob"}}).Channel.ID
	n.user("leaver").leave(t, left)
	owner.create(t, newChannel{GuildID: "g1", XType: "dm", Members: []string{"friend"}})
	n.user("zed").general(t, "other") // creates in g1
	n.user("far").create(t, newChannel{GuildID: "g2", Name: "far", XType: "general"})
	call[meData](t, n.user("ann"), 200, "PATCH", "/api/me", body{"displayName": "Ann OPS"})
	inG1 := []string{"ann", "gone", "owner", "zed"}
	for _, tt := range []struct {
		who    *user
		query  string
		want   []string
		remark string
	}{
		{n.user("stranger"), "?guildId=g1", inG1, "who is or was in a channel to join"},
		{n.user("stranger"), "", []string{"ann", "far", "gone", "owner", "zed"}, "of all guilds"},
		{n.user("stranger", "g1"), "", inG1, "of the token's guild"},
		{n.user("bob"), "?guildId=g1", []string{"ann", "bob", "gone", "hidden", "owner", "zed"}, "who shares a private channel, too; not who left it"},
		{n.user("friend"), "?guildId=g1", []string{"ann", "friend", "gone", "owner", "zed"}, "who shares a dm, too"},
		{n.user("bob"), "?guildId=g2", []string{"far"}, "of one guild"},
		{n.user("bob", "g2"), "", []string{"far"}, "a private channel of another guild than the token's does not count"},
		{n.user("bob"), "?q=OPS", []string{"ann"}, "a part of the name"},
		{n.user("bob"), "?q=e", []string{"gone", "hidden", "owner", "zed"}, "a part of the id"},
		{n.user("stranger"), "?q=hidden", nil, "search finds nobody hidden"},
		{n.user("bob"), "?ids=hidden,leaver,nobody,ann,ann,friend,far", []string{"ann", "far", "hidden"}, "by id"},
		{n.user("bob", "g1"), "?ids=hidden,far", []string{"hidden"}, "by id in the token's guild"},
		{n.user("stranger"), "?ids=hidden", nil, "by id nobody hidden"},
	} {
		got, next := tt.who.usersSeen(t, tt.query)
		if diff := cmp.Diff(tt.want, got); diff != "" || next != "" {
			t.Errorf("%s, %s %s: next %q, (-want +got):\n%s", tt.remark, tt.who.id, tt.query, next, diff)
		}
	}
	var paged []string
	for after := ""; ; {
		got, next := n.user("bob").usersSeen(t, "?guildId=g1&limit=2&after="+after)
		if paged = append(paged, got...); next == "" || len(got) > 2 {
			break
		}
		after = next
	}
	if diff := cmp.Diff([]string{"ann", "bob", "gone", "hidden", "owner", "zed"}, paged); diff != "" {
		t.Errorf("in pages of two (-want +got):\n%s", diff)
	}
	bob := n.user("bob", "g1")
	bob.wantRefused(t, 403, "guild_forbidden", "GET", "/api/users?guildId=g2", nil)
	for _, query := range []string{"?guildId=no%20id", "?q=" + strings.Repeat("x", 65), "?after=%20", "?ids=" + strings.Repeat("x,", 100) + "x", "?ids=a&q=b", "?ids=a,,b", "?limit=0", "?all=true"} {
		n.user("bob").wantRefused(t, 400, "malformed", "GET", "/api/users"+query, nil)
	}
}
