package handlers_test

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"fabric-guild/handlers/config"

	"github.com/google/go-cmp/cmp"
)

type meData struct {
	ListedUser
	GuildIDs  []string `json:"guildIds"`
	ExpiresAt string   `json:"expiresAt"`
}

func TestMe(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	for _, guilds := range [][]string{nil, {"g1", "g2"}} {
		got := call[meData](t, n.user("alice@example.org", guilds...), 200, "GET", "/api/me", nil)
		at, err := time.Parse("2006-01-02T15:04:05.000Z", got.ExpiresAt)
		if err != nil || time.Until(at) < 58*time.Minute || time.Until(at) > time.Hour {
			t.Errorf("got expiresAt %q, want one in an hour, in UTC with milliseconds", got.ExpiresAt)
		}
		got.ExpiresAt = ""
		if diff := cmp.Diff(meData{ListedUser{UserID: "alice@example.org", Kind: "human"}, guilds, ""}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestASessionIsACookie(t *testing.T) {
	t.Parallel()
	for _, basePath := range []string{"", "/chat"} {
		n := start(t, setup{basePath: basePath})
		alice := n.user("alice")
		alice.general(t, "ops")
		a, err := alice.do("POST", "/api/session", nil)
		if err != nil || a.status != 200 {
			t.Fatalf("got %v and error %v, want 200", a, err)
		}
		var me meData
		if err := strictly(a.body, &me); err != nil || me.UserID != "alice" {
			t.Errorf("got %v and error %v, want who signed in", a, err)
		}
		c := cookieOf(t, a)
		if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != basePath+"/" || c.Domain != "" || c.MaxAge < 3500 || c.MaxAge > 3600 || c.Secure {
			t.Errorf("got %v, want a cookie of this site and path alone that no script sees, for as long as the token", c)
		}
		browser := n.as("alice", "")
		cookie := []string{"Cookie", c.Name + "=" + c.Value}
		if a, err := browser.do("GET", "/api/me", nil, cookie...); err != nil || a.status != 200 {
			t.Errorf("got %v and error %v, want 200", a, err)
		}
		for _, over := range transports[:2] {
			s := browser.open(t, over, "", cookie...)
			if ready := data[readyData](t, s.next(t), "stream.ready"); ready.UserID != "alice" || len(*ready.Channels) != 1 {
				t.Errorf("%s: got %+v, want alice's stream", over.name, ready)
			}
		}
		browser.refused(t, 401, "token_invalid", "GET", "/api/me", nil, "Cookie", c.Name+"=x")
		browser.refused(t, 401, "token_missing", "POST", "/api/session", nil, cookie...) // a cookie makes no cookie
		a, err = browser.do("DELETE", "/api/session", nil, cookie...)
		if gone := cookieOf(t, a); err != nil || a.status != 204 || gone.MaxAge >= 0 || gone.Value != "" || gone.Path != c.Path || len(a.body) != 0 {
			t.Errorf("got %v with %v and error %v, want 204 and the cookie taken back", a, gone, err)
		}
	}
}

// Over TLS the cookie is for TLS alone, and its name says so: a cookie of the plain name, which whoever sits on
// the line could have planted, opens nothing. That there is TLS only a trusted proxy may say.
func TestTheCookieOverTLS(t *testing.T) {
	t.Parallel()
	loopback := config.Edge{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	forwarded := []string{"X-Forwarded-Proto", "https"}
	for name, tt := range map[string]struct {
		setup   setup
		headers []string
		cookie  string
	}{
		"TLS":                         {setup{tls: true}, nil, "__Host-fabric_session"},
		"TLS and a prefix":            {setup{tls: true, basePath: "/chat"}, nil, "__Secure-fabric_session"},
		"a trusted proxy":             {setup{edge: loopback}, forwarded, "__Host-fabric_session"},
		"a trusted proxy, and none":   {setup{edge: loopback}, nil, "fabric_session"},
		"a trusted proxy and plain":   {setup{edge: loopback}, []string{"X-Forwarded-Proto", "http"}, "fabric_session"},
		"somebody who claims to be":   {setup{}, forwarded, "fabric_session"},
		"a trusted proxy, and prefix": {setup{edge: loopback, basePath: "/chat"}, forwarded, "__Secure-fabric_session"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := start(t, tt.setup)
			a, err := n.user("alice").do("POST", "/api/session", nil, tt.headers...)
			if err != nil {
				t.Fatal(err)
			}
			c := cookieOf(t, a)
			if c.Name != tt.cookie || c.Secure != (tt.cookie != "fabric_session") || c.Path != n.basePath+"/" || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode {
				t.Errorf("got %v, want %s", c, tt.cookie)
			}
			browser := n.as("alice", "")
			for _, name := range []string{"fabric_session", "__Host-fabric_session", "__Secure-fabric_session"} {
				want := 401
				if name == tt.cookie {
					want = 200
				}
				if a, err := browser.do("GET", "/api/me", nil, append(tt.headers, "Cookie", name+"="+c.Value)...); err != nil || a.status != want {
					t.Errorf("%s: got %v and error %v, want %d", name, a, err, want)
				}
			}
		})
	}
}

func cookieOf(t *testing.T, a answer) *http.Cookie {
	t.Helper()
	cookies := (&http.Response{Header: a.header}).Cookies()
	if len(cookies) != 1 {
		t.Fatalf("got cookies %v, want one", cookies)
	}
	return cookies[0]
}

func TestBasePath(t *testing.T) {
	t.Parallel()
	n := start(t, setup{basePath: "/chat"})
	alice := n.user("alice")
	c := alice.general(t, "ops")
	s, ready := alice.fresh(t, raw, "")
	if len(*ready.Channels) != 1 {
		t.Errorf("got %+v, want one channel", ready)
	}
	if p := alice.post(t, c.Channel.ID, "hi"); p.Message.Content != "hi" {
		t.Errorf("got %+v, want the message", p)
	}
	s.close()
	n.url = strings.TrimSuffix(n.url, "/chat")
	for _, path := range []string{"/api/me", "/", "/chatapi/me", "/chats/api/me", "/healthz", "/chat/chat/api/me", "/chat/api/none", "/Chat/api/me"} {
		alice.refused(t, 404, "not_found", "GET", path, nil)
	}
	for _, path := range []string{"/%63hat/api/me", "/chat/api/%6de"} { // a proxy's rules go by the path as it is written
		alice.refused(t, 400, "malformed", "GET", path, nil)
	}
	for _, path := range []string{"/chat/api/me", "/chat/healthz"} {
		if a, err := alice.do("GET", path, nil); err != nil || a.status != 200 {
			t.Errorf("%s: got %v and error %v, want 200", path, a, err)
		}
	}
	alice.refused(t, 405, "method_not_allowed", "PUT", "/chat/api/me", nil)
}
