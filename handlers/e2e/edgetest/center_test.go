package edgetest_test

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/handlers/auth"
	"fabric-guild/handlers/center"
	"fabric-guild/handlers/center/centertest"
	"fabric-guild/handlers/config"
	"fabric-guild/handlers/e2e/nodetest"
)

func TestCenterSaysWhoSomebodyIs(t *testing.T) {
	t.Parallel()
	fake := centertest.New(t)
	n := nodetest.Start(t, nodetest.Setup{Center: fake})
	fake.SetToken("good", centertest.Token{UserID: "ann", Expires: time.Now().Add(time.Hour)})
	fake.SetToken("expired", centertest.Token{UserID: "ann", Expires: time.Now().Add(-time.Second)})
	fake.SetToken("wrong", centertest.Token{UserID: "no id"})
	own, err := n.Tokens.Sign("ann", nil, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, token string
		status      int
		code        string
	}{
		{"unknown", "unknown", 401, "token_invalid"},
		{"expired", "expired", 401, "token_invalid"},
		{"the program's own", own, 401, "token_invalid"},
		{"without a valid user", "wrong", 503, "center_unavailable"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := &nodetest.User{Node: n, ID: tt.name, Token: tt.token}
			u.WantRefused(t, tt.status, tt.code, "GET", "/api/me", nil)
			u.WantRefused(t, tt.status, tt.code, "GET", "/api/stream", nil)
		})
	}
	good := n.As("ann", "good")
	for range 3 {
		nodetest.Call[struct {
			UserID    string `json:"userId"`
			Kind      string `json:"kind"`
			ExpiresAt string `json:"expiresAt"`
		}](t, good, 200, "GET", "/api/me", nil)
	}
	calls := fake.Calls(centertest.Introspect)
	good.General(t, "ops")
	if got := fake.Calls(centertest.Introspect); got != calls {
		t.Errorf("got %d questions, want the %d before: the answer is kept", got, calls)
	}
	fake.Revoke("good")
	(&nodetest.User{
		Node: nodetest.Start(t, nodetest.Setup{Center: fake, Database: n.Database}), ID: "ann",
		Token: "good",
	}).WantRefused(t, 401, "token_invalid", "GET", "/api/me", nil)
}

// While Center does not answer nobody new gets in; who is known, and every stream, stays.
func TestCenterIsDown(t *testing.T) {
	t.Parallel()
	for name, trouble := range map[string]centertest.Fault{
		"fails":     centertest.Status(500),
		"redirects": centertest.Redirect(307, "http://127.0.0.1:1"),
		"garbage":   centertest.Answer("<html>"),
		"hangs up":  centertest.Raw("", false),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fake := centertest.New(t)
			n := nodetest.Start(t, nodetest.Setup{Center: fake})
			ann, bob := n.User("ann"), n.User("bob")
			id := ann.General(t, "ops", "bob").Channel.ID
			live, _ := bob.Fresh(t, nodetest.Raw, "")
			fake.Break(trouble, centertest.Introspect)
			cyd := n.User("cyd")
			for range 2 {
				before := fake.Calls(centertest.Introspect)
				a, err := cyd.Do("GET", "/api/me", nil)
				if err != nil || a.Status != 503 || a.Header.Get("Retry-After") != "2" ||
					!strings.Contains(string(a.Body), `"center_unavailable"`) {
					t.Errorf("got %v, %v and error %v, want 503 and when to try again", a, a.Header, err)
				}
				if got := fake.Calls(centertest.Introspect); got <= before {
					t.Errorf("got %d questions, want more than %d: a failure is not kept", got, before)
				}
			}
			cyd.WantRefused(t, 503, "center_unavailable", "GET", "/api/stream", nil)
			on := ann.Post(t, id, "on")
			if f := live.Next(t); f.ID != on.Cursor {
				t.Errorf("got %s, want the message", f.Raw)
			}
			fake.Mend()
			cyd.Join(t, id)
		})
	}
}

// A stream's token is asked about again: revoked, of another user or for fewer guilds ends it; no answer does
// not. How often, and that it is within a minute, the tests of center and events show by their clocks.
func TestWhatEndsAStream(t *testing.T) {
	t.Parallel()
	later := time.Now().Add(time.Hour)
	was := centertest.Token{UserID: "ann", Guilds: []string{"g1", "g2"}, Expires: later}
	for name, tt := range map[string]struct {
		change  func(*centertest.Server)
		revoked bool
	}{
		"nothing": {func(*centertest.Server) {}, false},
		"revoked": {func(c *centertest.Server) { c.Revoke("t") }, true},
		"fewer guilds": {func(c *centertest.Server) {
			c.SetToken("t", centertest.Token{UserID: "ann", Guilds: []string{"g1"}})
		}, true},
		"more guilds": {
			func(c *centertest.Server) { c.SetToken("t", centertest.Token{UserID: "ann"}) },
			false,
		},
		"another user": {
			func(c *centertest.Server) { c.SetToken("t", centertest.Token{UserID: "bob"}) },
			true,
		},
		"Center fails":  {func(c *centertest.Server) { c.Break(centertest.Status(502)) }, false},
		"Center closes": {func(c *centertest.Server) { c.Close() }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fake := centertest.New(t)
			fake.SetToken("t", was)
			client := func() *center.Client {
				c, err := center.New(fake.URL, fake.APIKey, slog.New(slog.DiscardHandler))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(c.Close)
				return c
			}
			id, err := auth.ByCenter(client()).Check(t.Context(), netip.Addr{}, "t")
			if err != nil || id.UserID != "ann" || !cmp.Equal(id.Guilds, was.Guilds) ||
				id.Expires.Unix() != later.Unix() {
				t.Fatalf("got %+v and error %v, want what Center says", id, err)
			}
			tt.change(fake)
			// a client that remembers nothing: the first one remembers for too long
			later := auth.ByCenter(client())
			if got := later.Revoked(t.Context(), id); got != tt.revoked {
				t.Errorf("got revoked: %v, want %v", got, tt.revoked)
			}
		})
	}
}

func TestAStreamEndsWithTheTokenOfCenter(t *testing.T) {
	t.Parallel()
	fake := centertest.New(t)
	n := nodetest.Start(t, nodetest.Setup{Center: fake})
	_, frames := nodetest.BriefStream(t, nodetest.Raw, func(life time.Duration) *nodetest.User {
		token := fmt.Sprint("short-", life)
		fake.SetToken(token, centertest.Token{UserID: "ann", Expires: time.Now().Add(life)})
		return n.As("ann", token)
	})
	if len(frames) != 1 {
		t.Fatalf("got %v, want one frame", frames)
	}
	if got := nodetest.Data[closing](t, frames[0],
		"stream.closing"); got != (closing{"token_expired", false}) {
		t.Errorf("got %+v, want that the token has expired", got)
	}
}

// A token for some guilds sees those alone, wherever it looks.
func TestGuildsOfCenter(t *testing.T) {
	t.Parallel()
	fake := centertest.New(t)
	n := nodetest.Start(t, nodetest.Setup{Center: fake})
	ann := n.User("ann")
	one := ann.General(t, "one", "bob").Channel
	two := ann.Create(t, nodetest.NewChannel{
		GuildID: "g2", Name: "two", XType: "general",
		Members: []string{"bob"},
	}).Channel
	fake.SetToken("some", centertest.Token{UserID: "bob", Guilds: []string{"g1"}})
	fake.SetToken("none", centertest.Token{UserID: "bob", Guilds: []string{}})
	for token, want := range map[string][]nodetest.Channel{"some": {one}, "none": {}} {
		bob := n.As("bob", token)
		live, ready := bob.Fresh(t, nodetest.Raw, "")
		if diff := cmp.Diff(want, *ready.Channels); diff != "" {
			t.Errorf("%s: the snapshot (-want +got):\n%s", token, diff)
		}
		if diff := cmp.Diff(want, bob.Sync(t).Channels); diff != "" {
			t.Errorf("%s: sync (-want +got):\n%s", token, diff)
		}
		for _, query := range []string{"", "?member=any"} {
			if diff := cmp.Diff(want, nodetest.Call[nodetest.List[nodetest.Channel]](t, bob, 200, "GET",
				"/api/channels"+query, nil).Items); diff != "" {
				t.Errorf("%s: list %s (-want +got):\n%s", token, query, diff)
			}
		}
		bob.WantRefused(t, 404, "channel_not_found", "POST", "/api/channels/"+two.ID+"/messages",
			nodetest.Body{"content": "hi"})
		bob.WantRefused(t, 404, "channel_not_found", "POST", "/api/channels/"+two.ID+"/messages",
			nodetest.Body{"content": "hi"}, "Idempotency-Key", "k")
		bob.WantRefused(t, 403, "guild_forbidden", "POST", "/api/channels",
			nodetest.NewChannel{GuildID: "g2", Name: "mine", XType: "general"})
		hidden := ann.Post(t, two.ID, "hidden")
		bob.WantRefused(t, 404, "message_not_found", "GET", "/api/messages/"+hidden.Message.ID+"/deliveries",
			nil)
		shown := ann.Post(t, one.ID, "shown")
		if token == "some" {
			if f := live.Next(t); f.ID != shown.Cursor {
				t.Errorf("got %s, want what is of its guild only", f.Raw)
			}
		}
		replay := bob.Resume(t, nodetest.Raw, "", ready.Cursor)
		for f := replay.Next(t); f.Event != "stream.live"; f = replay.Next(t) {
			if f.ID != shown.Cursor || token == "none" {
				t.Errorf("%s: replay: got %s, want what is of its guilds only", token, f.Raw)
			}
		}
		got := nodetest.Call[map[string]any](t, bob, 200, "GET", "/api/me", nil)
		if guilds, ok := got["guildIds"].([]any); !ok || len(guilds) != len(want) {
			t.Errorf("%s: /api/me: got %v, want its guilds: without any it would be for all", token, got)
		}
	}
}

// Who makes up tokens is refused after a while without a call of Center, by the address that a trusted proxy
// tells.
func TestMadeUpTokensAreLimitedPerAddress(t *testing.T) {
	t.Parallel()
	fake := centertest.New(t)
	n := nodetest.Start(t, nodetest.Setup{
		Center: fake,
		Edge:   config.Edge{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
	})
	n.User("ann")
	madeUp := func(from string, i int) nodetest.Answer {
		t.Helper()
		a, err := (&nodetest.User{Node: n, ID: "nobody", Token: fmt.Sprint("made-up-", i)}).Do("GET",
			"/api/me", nil, "X-Forwarded-For", from)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	for i := range 32 {
		nodetest.WantProblem(t, madeUp("203.0.113.1", i), 401, "token_invalid")
	}
	refused := nodetest.Answer{}
	for i := 100; i < 1000 && refused.Status != 429; i++ { // the bound is one per second, too
		refused = madeUp("203.0.113.1", i)
	}
	nodetest.WantProblem(t, refused, 429, "too_many_sign_ins")
	if got := refused.Header.Get("Retry-After"); got != "1" {
		t.Errorf("got Retry-After %q, want 1", got)
	}
	nodetest.WantProblem(t, madeUp("203.0.113.2", 1000), 401, "token_invalid")
	if m := n.Scrape(t); m.Series[`fabric_guild_center_refused_total{reason="address"}`] < 1 {
		t.Error("got no refusal counted")
	}
}
