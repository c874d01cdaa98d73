package rulestest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/db/dbtest"
	"fabric-guild/events"
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
