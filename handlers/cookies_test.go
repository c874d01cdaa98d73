package handlers_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"fabric-guild/handlers/center/centertest"
)

// signIn opens a session, and returns the browser and the header with its cookie.
func (u *user) signIn(t *testing.T) (browser *user, value string, cookie []string) {
	t.Helper()
	a, err := u.do("POST", "/api/session", nil)
	if err != nil || a.status != 200 {
		t.Fatalf("got %v and error %v, want 200", a, err)
	}
	c := cookieOf(t, a)
	return &user{u.n, u.id, ""}, c.Value, []string{"Cookie", c.Name + "=" + c.Value}
}

func (u *user) wantStatus(t *testing.T, want int, headers ...string) {
	t.Helper()
	if a, err := u.do("GET", "/api/me", nil, headers...); err != nil || a.status != want {
		t.Errorf("%.40v: got %v and error %v, want %d", headers, a, err, want)
	}
}

// Any server on the same host receives the cookie. It must not learn the token, nor have one.
func TestACookieIsNoToken(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]setup{"own tokens": {}, "Center": {center: centertest.New(t)}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := start(t, s)
			alice := n.user("alice")
			browser, value, cookie := alice.signIn(t)
			browser.wantStatus(t, 200, cookie...)
			plain, err := base64.RawURLEncoding.DecodeString(value)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(value, alice.token) || strings.Contains(string(plain), alice.token) {
				t.Error("got the token in its cookie, want it sealed")
			}
			browser.refused(t, 401, "token_invalid", "GET", "/api/me", nil, "Authorization", "Bearer "+value)
			if _, again, _ := alice.signIn(t); again == value {
				t.Error("got the same cookie twice, want a session each")
			}
			plain[len(plain)-1]++
			name, _, _ := strings.Cut(cookie[1], "=")
			for _, bad := range []string{base64.RawURLEncoding.EncodeToString(plain), alice.token, value[:len(value)/2], "AAAA"} {
				browser.refused(t, 401, "token_invalid", "GET", "/api/me", nil, "Cookie", name+"="+bad)
			}
		})
	}
}

// A cookie is good at every server of the guild: without Center they share the token key, with it the API key. It
// outlives a restart, and ends with its token or with the key.
func TestACookieAtOtherServers(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	browser, _, cookie := n.user("alice").signIn(t)
	browser.at(start(t, setup{state: n.state, database: n.database})).wantStatus(t, 200, cookie...)
	stranger := browser.at(start(t, setup{}))
	stranger.refused(t, 401, "token_invalid", "GET", "/api/me", nil, cookie...)
	if err := n.tokens.Rotate(); err != nil {
		t.Fatal(err)
	}
	browser.refused(t, 401, "token_invalid", "GET", "/api/me", nil, cookie...)

	fake := centertest.New(t)
	n = start(t, setup{center: fake})
	alice := n.user("alice")
	browser, _, cookie = alice.signIn(t)
	other := browser.at(start(t, setup{center: fake, database: n.database}))
	other.wantStatus(t, 200, cookie...)
	fake.Revoke(alice.token)
	browser.at(start(t, setup{center: fake})).refused(t, 401, "token_invalid", "GET", "/api/me", nil, cookie...)
}

// The end of a session is that of its streams, on every transport, and of copies of its cookie. Another session of
// the same token goes on, and so does the token.
func TestTheEndOfASession(t *testing.T) {
	t.Parallel()
	overTransports(t, func(t *testing.T, n *node, over transport) {
		alice, bob := n.user("alice"), n.user("bob")
		ops := bob.general(t, "ops", "alice").Channel.ID
		browser, _, cookie := alice.signIn(t)
		_, _, another := alice.signIn(t)
		var ended []*stream
		for range 2 {
			ended = append(ended, browser.open(t, over, "", cookie...))
		}
		kept := []*stream{browser.open(t, over, "", another...), alice.open(t, over, "")}
		for _, s := range append(ended, kept...) {
			data[readyData](t, s.next(t), "stream.ready")
		}
		for range 2 { // once more does no harm
			a, err := browser.do("DELETE", "/api/session", nil, cookie...)
			if err != nil || a.status != 204 {
				t.Fatalf("got %v and error %v, want 204", a, err)
			}
		}
		for _, s := range ended {
			if got, want := data[closing](t, s.next(t), "stream.closing"), (closing{"token_revoked", false}); got != want {
				t.Errorf("got %v, want %v", got, want)
			}
		}
		p := bob.post(t, ops, "hi")
		for _, s := range kept {
			if got := s.next(t).id; got != p.Cursor {
				t.Errorf("got %s on a stream of another session, want %s", got, p.Cursor)
			}
		}
		browser.refused(t, 401, "token_invalid", "GET", "/api/me", nil, cookie...)
		browser.refused(t, 401, "token_invalid", "GET", "/api/stream", nil, cookie...)
		browser.wantStatus(t, 200, another...)
		alice.wantStatus(t, 200)
	})
}

// What a proxy puts into the Authorization header for itself does not hide the cookie. A bearer token does.
func TestAuthorizationBesideACookie(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	browser, _, cookie := n.user("alice").signIn(t)
	for header, want := range map[string]int{
		"Basic YWxpY2U6c2VzYW1l":          200,
		"Negotiate YII":                   200,
		"Bearer x":                        401,
		"Bearer":                          401,
		"bearer ":                         401,
		"Bearer " + n.user("carol").token: 200,
	} {
		browser.wantStatus(t, want, append(cookie, "Authorization", header)...)
	}
	browser.refused(t, 401, "token_invalid", "GET", "/api/me", nil, "Authorization", "Basic YWxpY2U6c2VzYW1l")
	browser.refused(t, 401, "token_invalid", "GET", "/api/me", nil, "Authorization", "Basic YWxpY2U6c2VzYW1l", "Cookie", "fabric_session=x")
	browser.refused(t, 401, "token_invalid", "POST", "/api/session", nil, append(cookie, "Authorization", "Basic YWxpY2U6c2VzYW1l")...)
}

// A poll that waits while its session ends is told so, and gets no events.
func TestAPollWhoseSessionEnds(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	bob := n.user("bob")
	ops := bob.general(t, "ops", "alice")
	browser, _, cookie := n.user("alice").signIn(t)
	polled := make(chan answer, 1)
	go func() {
		a, err := browser.do("GET", "/api/events?wait=60&after="+ops.Cursor, nil, cookie...)
		if err != nil {
			t.Error(err)
		}
		polled <- a
	}()
	if !eventually(func() bool { return n.router.Streams() == 1 }) {
		t.Fatal("got no poll")
	}
	if a, err := browser.do("DELETE", "/api/session", nil, cookie...); err != nil || a.status != 204 {
		t.Fatalf("got %v and error %v, want 204", a, err)
	}
	bob.post(t, ops.Channel.ID, "hi")
	wantProblem(t, <-polled, 401, "token_invalid")
}
