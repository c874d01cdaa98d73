package edgetest_test

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/db/dbtest"
	"fabric-guild/events/ssetest"
	"fabric-guild/handlers/config"
	"fabric-guild/handlers/e2e/nodetest"
)

func TestMe(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	for _, guilds := range [][]string{nil, {"g1", "g2"}} {
		got := nodetest.Call[nodetest.MeData](t, n.User("alice@example.org", guilds...), 200, "GET",
			"/api/me", nil)
		at, err := time.Parse("2006-01-02T15:04:05.000Z", got.ExpiresAt)
		if err != nil || time.Until(at) < 58*time.Minute || time.Until(at) > time.Hour+time.Second {
			t.Errorf("got expiresAt %q, want one in an hour or a second more, in UTC with milliseconds",
				got.ExpiresAt)
		}
		got.ExpiresAt = ""
		if diff := cmp.Diff(nodetest.MeData{
			ListedUser: nodetest.ListedUser{UserID: "alice@example.org", Kind: "human"}, GuildIDs: guilds,
			ExpiresAt: "",
		}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestASessionIsACookie(t *testing.T) {
	t.Parallel()
	for _, basePath := range []string{"", "/chat"} {
		n := nodetest.Start(t, nodetest.Setup{BasePath: basePath})
		alice := n.User("alice")
		alice.General(t, "ops")
		a, err := alice.Do("POST", "/api/session", nil)
		if err != nil || a.Status != 200 {
			t.Fatalf("got %v and error %v, want 200", a, err)
		}
		var me nodetest.MeData
		if err := nodetest.Strictly(a.Body, &me); err != nil || me.UserID != "alice" {
			t.Errorf("got %v and error %v, want who signed in", a, err)
		}
		c := cookieOf(t, a)
		if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != basePath+"/" || c.Domain != "" ||
			c.MaxAge < 3500 || c.MaxAge > 3600 || c.Secure {
			t.Errorf("got %v, want a cookie of this site and path alone that no script sees, for as long "+
				"as the token", c)
		}
		browser := n.As("alice", "")
		cookie := []string{"Cookie", c.Name + "=" + c.Value}
		if a, err := browser.Do("GET", "/api/me", nil, cookie...); err != nil || a.Status != 200 {
			t.Errorf("got %v and error %v, want 200", a, err)
		}
		for _, over := range nodetest.Transports[:2] {
			s := browser.Open(t, over, "", cookie...)
			if ready := nodetest.Data[nodetest.ReadyData](t, s.Next(t),
				"stream.ready"); ready.UserID != "alice" || len(*ready.Channels) != 1 {
				t.Errorf("%s: got %+v, want alice's stream", over.Name, ready)
			}
		}
		browser.Refused(t, 401, "token_invalid", "GET", "/api/me", nil, "Cookie", c.Name+"=x")
		// a cookie makes no cookie
		browser.Refused(t, 401, "token_missing", "POST", "/api/session", nil, cookie...)
		a, err = browser.Do("DELETE", "/api/session", nil, cookie...)
		if gone := cookieOf(t, a); err != nil || a.Status != 204 || gone.MaxAge >= 0 || gone.Value != "" ||
			gone.Path != c.Path || len(a.Body) != 0 {
			t.Errorf("got %v with %v and error %v, want 204 and the cookie taken back", a, gone, err)
		}
	}
}

// A session that one server closes ends on the others, too: a browser may have a stream on each.
func TestSigningOutReachesOtherServers(t *testing.T) {
	t.Parallel()
	here := nodetest.Start(t, nodetest.Setup{})
	there := nodetest.Start(t, nodetest.Setup{Database: here.Database, State: here.State})
	ssetest.Eventually(t, "the servers hear each other", func() bool {
		return here.DB.Hears() && there.DB.Hears()
	})
	signIn := func() []string {
		a, err := here.User("alice").Do("POST", "/api/session", nil)
		if err != nil {
			t.Fatal(err)
		}
		c := cookieOf(t, a)
		return []string{"Cookie", c.Name + "=" + c.Value}
	}
	closed, other := signIn(), signIn()
	browser := there.As("alice", "")
	stream := browser.Open(t, nodetest.Raw, "", closed...)
	nodetest.Data[nodetest.ReadyData](t, stream.Next(t), "stream.ready")
	if a, err := here.As("alice", "").Do("DELETE", "/api/session", nil, closed...); err != nil ||
		a.Status != 204 {
		t.Fatalf("got %v and error %v, want 204", a, err)
	}
	if f := stream.Next(t); f.Event != "stream.closing" || !strings.Contains(f.Data, "token_revoked") {
		t.Errorf("got %v, want the end of the stream", f)
	}
	browser.Refused(t, 401, "token_invalid", "GET", "/api/me", nil, closed...)
	nodetest.Call[nodetest.MeData](t, there.User("alice"), 200, "GET", "/api/me", nil)
	if a, err := browser.Do("GET", "/api/me", nil, other...); err != nil || a.Status != 200 {
		t.Errorf("another session of the user: got %v and error %v, want 200", a, err)
	}
}

// Over TLS the cookie is for TLS alone, and its name says so: a cookie of the plain name, which whoever sits
// on the line could have planted, opens nothing. That there is TLS only a trusted proxy may say.
func TestTheCookieOverTLS(t *testing.T) {
	dbtest.Long(t) // TestASessionIsACookie is fast
	t.Parallel()
	loopback := config.Edge{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	forwarded := []string{"X-Forwarded-Proto", "https"}
	for name, tt := range map[string]struct {
		setup   nodetest.Setup
		headers []string
		cookie  string
	}{
		"TLS": {nodetest.Setup{TLS: true}, nil, "__Host-fabric_session"},
		"TLS and a prefix": {
			nodetest.Setup{TLS: true, BasePath: "/chat"},
			nil,
			"__Secure-fabric_session",
		},
		"a trusted proxy":           {nodetest.Setup{Edge: loopback}, forwarded, "__Host-fabric_session"},
		"a trusted proxy, and none": {nodetest.Setup{Edge: loopback}, nil, "fabric_session"},
		"a trusted proxy and plain": {
			nodetest.Setup{Edge: loopback},
			[]string{"X-Forwarded-Proto", "http"},
			"fabric_session",
		},
		"somebody who claims to be": {nodetest.Setup{}, forwarded, "fabric_session"},
		"a trusted proxy, and prefix": {
			nodetest.Setup{Edge: loopback, BasePath: "/chat"},
			forwarded,
			"__Secure-fabric_session",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := nodetest.Start(t, tt.setup)
			a, err := n.User("alice").Do("POST", "/api/session", nil, tt.headers...)
			if err != nil {
				t.Fatal(err)
			}
			c := cookieOf(t, a)
			if c.Name != tt.cookie || c.Secure != (tt.cookie != "fabric_session") ||
				c.Path != n.BasePath+"/" || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode {
				t.Errorf("got %v, want %s", c, tt.cookie)
			}
			browser := n.As("alice", "")
			for _, name := range []string{
				"fabric_session", "__Host-fabric_session",
				"__Secure-fabric_session",
			} {
				want := 401
				if name == tt.cookie {
					want = 200
				}
				if a, err := browser.Do("GET", "/api/me", nil,
					append(tt.headers, "Cookie", name+"="+c.Value)...); err != nil || a.Status != want {
					t.Errorf("%s: got %v and error %v, want %d", name, a, err, want)
				}
			}
		})
	}
}

func cookieOf(t *testing.T, a nodetest.Answer) *http.Cookie {
	t.Helper()
	cookies := (&http.Response{Header: a.Header}).Cookies()
	if len(cookies) != 1 {
		t.Fatalf("got cookies %v, want one", cookies)
	}
	return cookies[0]
}

func TestBasePath(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{BasePath: "/chat"})
	alice := n.User("alice")
	c := alice.General(t, "ops")
	s, ready := alice.Fresh(t, nodetest.Raw, "")
	if len(*ready.Channels) != 1 {
		t.Errorf("got %+v, want one channel", ready)
	}
	if p := alice.Post(t, c.Channel.ID, "hi"); p.Message.Content != "hi" {
		t.Errorf("got %+v, want the message", p)
	}
	s.Close()
	n.URL = strings.TrimSuffix(n.URL, "/chat")
	for _, path := range []string{
		"/api/me", "/", "/chatapi/me", "/chats/api/me", "/healthz",
		"/chat/chat/api/me", "/chat/api/none", "/Chat/api/me",
	} {
		alice.Refused(t, 404, "not_found", "GET", path, nil)
	}
	// a proxy's rules go by the path as it is written
	for _, path := range []string{"/%63hat/api/me", "/chat/api/%6de"} {
		alice.Refused(t, 400, "malformed", "GET", path, nil)
	}
	for _, path := range []string{"/chat/api/me", "/chat/healthz"} {
		if a, err := alice.Do("GET", path, nil); err != nil || a.Status != 200 {
			t.Errorf("%s: got %v and error %v, want 200", path, a, err)
		}
	}
	alice.Refused(t, 405, "method_not_allowed", "PUT", "/chat/api/me", nil)
}
