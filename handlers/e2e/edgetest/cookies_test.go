package edgetest_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"fabric-guild/db/dbtest"
	"fabric-guild/events/ssetest"
	"fabric-guild/handlers/center/centertest"
	"fabric-guild/handlers/e2e/nodetest"
)

// signIn opens a session, and returns the browser and the header with its cookie.
func signIn(t *testing.T, u *nodetest.User) (browser *nodetest.User, value string, cookie []string) {
	t.Helper()
	a, err := u.Do("POST", "/api/session", nil)
	if err != nil || a.Status != 200 {
		t.Fatalf("got %v and error %v, want 200", a, err)
	}
	c := cookieOf(t, a)
	return &nodetest.User{Node: u.Node, ID: u.ID, Token: ""}, c.Value,
		[]string{"Cookie", c.Name + "=" + c.Value}
}

func wantStatus(t *testing.T, u *nodetest.User, want int, headers ...string) {
	t.Helper()
	if a, err := u.Do("GET", "/api/me", nil, headers...); err != nil || a.Status != want {
		t.Errorf("%.40v: got %v and error %v, want %d", headers, a, err, want)
	}
}

// Any server on the same host receives the cookie. It must not learn the token, nor have one.
func TestACookieIsNoToken(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]nodetest.Setup{"own tokens": {}, "Center": {Center: centertest.New(t)}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := nodetest.Start(t, s)
			alice := n.User("alice")
			browser, value, cookie := signIn(t, alice)
			wantStatus(t, browser, 200, cookie...)
			plain, err := base64.RawURLEncoding.DecodeString(value)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(value, alice.Token) || strings.Contains(string(plain), alice.Token) {
				t.Error("got the token in its cookie, want it sealed")
			}
			browser.Refused(t, 401, "token_invalid", "GET", "/api/me", nil, "Authorization", "Bearer "+value)
			if _, again, _ := signIn(t, alice); again == value {
				t.Error("got the same cookie twice, want a session each")
			}
			plain[len(plain)-1]++
			name, _, _ := strings.Cut(cookie[1], "=")
			for _, bad := range []string{
				base64.RawURLEncoding.EncodeToString(plain), alice.Token,
				value[:len(value)/2], "AAAA",
			} {
				browser.Refused(t, 401, "token_invalid", "GET", "/api/me", nil, "Cookie", name+"="+bad)
			}
		})
	}
}

// A cookie is good at every server of the guild: without Center they share the token key, with it the API
// key. It outlives a restart, and ends with its token or with the key.
func TestACookieAtOtherServers(t *testing.T) {
	dbtest.Long(t) // TestASessionIsACookie is fast
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	browser, _, cookie := signIn(t, n.User("alice"))
	wantStatus(t, browser.At(nodetest.Start(t, nodetest.Setup{State: n.State, Database: n.Database})),
		200, cookie...)
	stranger := browser.At(nodetest.Start(t, nodetest.Setup{}))
	stranger.Refused(t, 401, "token_invalid", "GET", "/api/me", nil, cookie...)
	if err := n.Tokens.Rotate(); err != nil {
		t.Fatal(err)
	}
	browser.Refused(t, 401, "token_invalid", "GET", "/api/me", nil, cookie...)

	fake := centertest.New(t)
	n = nodetest.Start(t, nodetest.Setup{Center: fake})
	alice := n.User("alice")
	browser, _, cookie = signIn(t, alice)
	other := browser.At(nodetest.Start(t, nodetest.Setup{Center: fake, Database: n.Database}))
	wantStatus(t, other, 200, cookie...)
	fake.Revoke(alice.Token)
	browser.At(nodetest.Start(t, nodetest.Setup{Center: fake})).Refused(t, 401, "token_invalid", "GET",
		"/api/me", nil, cookie...)
}

// The end of a session is that of its streams, on every transport, and of copies of its cookie. Another
// session of the same token goes on, and so does the token.
func TestTheEndOfASession(t *testing.T) {
	t.Parallel()
	nodetest.OverTransports(t, func(t *testing.T, n *nodetest.Node, over nodetest.Transport) {
		alice, bob := n.User("alice"), n.User("bob")
		ops := bob.General(t, "ops", "alice").Channel.ID
		browser, _, cookie := signIn(t, alice)
		_, _, another := signIn(t, alice)
		var ended []*nodetest.Stream
		for range 2 {
			ended = append(ended, browser.Open(t, over, "", cookie...))
		}
		kept := []*nodetest.Stream{browser.Open(t, over, "", another...), alice.Open(t, over, "")}
		for _, s := range append(ended, kept...) {
			nodetest.Data[nodetest.ReadyData](t, s.Next(t), "stream.ready")
		}
		for range 2 { // once more does no harm
			a, err := browser.Do("DELETE", "/api/session", nil, cookie...)
			if err != nil || a.Status != 204 {
				t.Fatalf("got %v and error %v, want 204", a, err)
			}
		}
		for _, s := range ended {
			if got, want := nodetest.Data[closing](t, s.Next(t), "stream.closing"),
				(closing{"token_revoked", false}); got != want {
				t.Errorf("got %v, want %v", got, want)
			}
		}
		p := bob.Post(t, ops, "hi")
		for _, s := range kept {
			if got := s.NextEvent(t).ID; got != p.Cursor {
				t.Errorf("got %s on a stream of another session, want %s", got, p.Cursor)
			}
		}
		browser.Refused(t, 401, "token_invalid", "GET", "/api/me", nil, cookie...)
		browser.Refused(t, 401, "token_invalid", "GET", "/api/stream", nil, cookie...)
		wantStatus(t, browser, 200, another...)
		wantStatus(t, alice, 200)
	})
}

// What a proxy puts into the Authorization header for itself does not hide the cookie. A bearer token does.
func TestAuthorizationBesideACookie(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	browser, _, cookie := signIn(t, n.User("alice"))
	for header, want := range map[string]int{
		"Basic YWxpY2U6c2VzYW1l":          200,
		"Negotiate YII":                   200,
		"Bearer x":                        401,
		"Bearer":                          401,
		"bearer ":                         401,
		"Bearer " + n.User("carol").Token: 200,
	} {
		wantStatus(t, browser, want, append(cookie, "Authorization", header)...)
	}
	browser.Refused(t, 401, "token_invalid", "GET", "/api/me", nil, "Authorization", "Basic YWxpY2U6c2VzYW1l")
	browser.Refused(t, 401, "token_invalid", "GET", "/api/me", nil, "Authorization", "Basic YWxpY2U6c2VzYW1l",
		"Cookie", "fabric_session=x")
	browser.Refused(t, 401, "token_invalid", "POST", "/api/session", nil,
		append(cookie, "Authorization", "Basic YWxpY2U6c2VzYW1l")...)
}

// A poll that waits while its session ends is refused, and gets no events.
func TestAPollWhoseSessionEnds(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	bob := n.User("bob")
	ops := bob.General(t, "ops", "alice")
	browser, _, cookie := signIn(t, n.User("alice"))
	polled := make(chan nodetest.Answer, 1)
	go func() {
		a, err := browser.Do("GET", "/api/events?wait=60&after="+ops.Cursor, nil, cookie...)
		if err != nil {
			t.Error(err)
		}
		polled <- a
	}()
	if !ssetest.Await(func() bool { return n.Router.Streams() == 1 }) {
		t.Fatal("got no poll")
	}
	if a, err := browser.Do("DELETE", "/api/session", nil, cookie...); err != nil || a.Status != 204 {
		t.Fatalf("got %v and error %v, want 204", a, err)
	}
	bob.Post(t, ops.Channel.ID, "hi")
	nodetest.WantProblem(t, <-polled, 401, "token_invalid")
}
