package operatetest_test

import (
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/db"
	"fabric-guild/handlers"
	"fabric-guild/handlers/auth"
	"fabric-guild/handlers/e2e/nodetest"
)

// A token in a URL is refused for what it is, and neither it nor any other secret reaches the log.
func TestNoSecretReachesTheLog(t *testing.T) {
	t.Parallel()
	for _, over := range nodetest.Transports {
		t.Run(over.Name, func(t *testing.T) {
			t.Parallel()
			log := &nodetest.LogBuffer{}
			n := nodetest.Start(t, nodetest.Setup{
				R3labs: over.R3labs, TLS: over.TLS,
				Logger: slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
			})
			alice, nobody := n.User("alice"), n.As("", "")
			id := alice.Create(t, nodetest.NewChannel{
				GuildID: "g1", Name: "SECRETNAME",
				XType: "general",
			}).Channel.ID
			for _, name := range []string{"token", "access_token", "Authorization", "TOKEN"} {
				query := "?" + name + "=" + alice.Token
				for _, u := range []*nodetest.User{alice, nobody} {
					u.Refused(t, 400, "token_in_query", "GET", "/api/me"+query, nil)
					u.Refused(t, 400, "token_in_query", "GET", "/api/stream"+query, nil)
					u.Refused(t, 400, "token_in_query", "GET", "/api/channels"+query+"&page=%zz", nil)
				}
				alice.Refused(t, 400, "token_in_query", "POST", "/api/channels/"+id+"/messages"+query,
					nodetest.Body{"content": "hi"})
			}
			alice.Post(t, id, "SECRETTEXT")
			alice.Refused(t, 422, "invalid", "POST", "/api/channels/"+id+"/messages",
				nodetest.Body{"content": "SECRETTEXT\x00"})
			alice.Refused(t, 400, "malformed", "POST", "/api/channels/"+id+"/messages",
				nodetest.Body{"SECRETTEXT": "SECRETTEXT"})
			alice.Refused(t, 403, "guild_forbidden", "POST", "/api/channels",
				nodetest.NewChannel{GuildID: "g1", Name: "SECRETNAME", XType: "general"}, "Authorization",
				"Bearer "+n.User("bob", "g2").Token)
			nobody.Refused(t, 401, "token_invalid", "GET", "/api/me", nil, "Authorization",
				"Bearer SECRETTOKEN", "Cookie",
				"fabric_session=SECRETTOKEN; __Host-fabric_session=SECRETTOKEN")
			nobody.Refused(t, 401, "token_invalid", "GET", "/api/me", nil, "Cookie",
				"fabric_session=SECRETTOKEN; __Host-fabric_session=SECRETTOKEN")
			if _, err := alice.Do("POST", "/api/session", nil); err != nil {
				t.Error(err)
			}
			s, _ := alice.Fresh(t, over, "?echo=true")
			alice.Post(t, id, "SECRETTEXT")
			s.Next(t)
			s.Close()
			n.Stop()
			got := log.String()
			for _, secret := range []string{
				alice.Token, alice.Token[strings.LastIndex(alice.Token, "."):],
				"SECRET", "token=",
			} {
				if strings.Contains(got, secret) {
					t.Errorf("the log holds %q:\n%s", secret, got)
				}
			}
		})
	}
}

// A fault of ours is a 500 that tells nothing. The log has where it happened, and nothing of the request.
func TestAPanicTellsNoSecret(t *testing.T) {
	t.Parallel()
	tokens, err := auth.OpenTokens(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	log := &nodetest.LogBuffer{}
	_, handler := handlers.New(handlers.Config{
		// which is not open
		Logger: slog.New(slog.NewJSONHandler(log, nil)), Tokens: tokens, DB: &db.DB{Doorbell: &db.Doorbell{}},
	})
	web := httptest.NewServer(handler)
	defer web.Close()
	token, err := tokens.Sign("alice", nil, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	u := &nodetest.User{
		Node: &nodetest.Node{T: t, URL: web.URL, Client: web.Client()}, ID: "alice",
		Token: token,
	}
	// asks the router, which is missing
	const path = "/api/channels/01a20138-0000-7000-8000-000000000000/activity"
	draft := nodetest.Body{"kind": "draft", "text": "SECRETTEXT"}
	p := u.Refused(t, 500, "internal", "POST", path, draft, "Cookie", "fabric_session=SECRETTOKEN")
	got := log.String()
	for _, want := range []string{"nil pointer", "showActivity", p.RequestID} {
		if !strings.Contains(got, want) {
			t.Errorf("got the log %s, want %q in it", got, want)
		}
	}
	for _, secret := range []string{token, "SECRET"} {
		if strings.Contains(got, secret) {
			t.Errorf("the log holds %q:\n%s", secret, got)
		}
	}
}

// One line per request, at its end, be it a stream's.
func TestOneLinePerRequest(t *testing.T) {
	t.Parallel()
	for _, over := range nodetest.Transports {
		t.Run(over.Name, func(t *testing.T) {
			t.Parallel()
			log := &nodetest.LogBuffer{}
			n := nodetest.Start(t, nodetest.Setup{
				BasePath: "/chat", R3labs: over.R3labs, TLS: over.TLS,
				Logger: slog.New(slog.NewJSONHandler(log, nil)),
			})
			alice := n.User("alice")
			alice.Refused(t, 404, "not_found", "GET", "/none?q=1", nil, "X-Request-Id", "first")
			if a, err := alice.Do("GET", "/api/me", nil, "X-Request-Id", "second"); err != nil ||
				a.Status != 200 {
				t.Errorf("got %v and error %v, want 200", a, err)
			}
			s := alice.Open(t, over, "", "X-Request-Id", "third")
			if strings.Contains(log.String(), "third") {
				t.Error("got a stream's line while it is open, want it at the end")
			}
			s.Close()
			n.Stop()
			type line struct {
				Level, Msg, Method, Path string
				RequestID                string `json:"request_id"`
				Status                   int
				Duration                 *int64 `json:"duration_ms"`
			}
			got := map[string]line{}
			for l := range strings.Lines(log.String()) {
				var parsed line
				if err := json.Unmarshal([]byte(l), &parsed); err != nil {
					t.Fatal(err)
				}
				if parsed.Msg != "request" {
					continue
				}
				if _, twice := got[parsed.RequestID]; twice {
					t.Errorf("got a second line of %s, want one", parsed.RequestID)
				}
				if parsed.Duration == nil || *parsed.Duration < 0 {
					t.Errorf("got %s, want its duration", l)
				}
				parsed.Duration = nil
				got[parsed.RequestID] = parsed
			}
			want := map[string]line{
				"first":  {"INFO", "request", "GET", "/chat/none", "first", 404, nil},
				"second": {"INFO", "request", "GET", "/chat/api/me", "second", 200, nil},
				"third":  {"INFO", "request", "GET", "/chat/api/stream", "third", 200, nil},
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Probes come every few seconds: what they find well is not told at the info level, and what they find ill
// is.
func TestProbesAreQuietWhileAllIsWell(t *testing.T) {
	t.Parallel()
	log := &nodetest.LogBuffer{}
	n := nodetest.Start(t, nodetest.Setup{Logger: slog.New(slog.NewTextHandler(log, nil))})
	awaitReadyz(t, n, "")
	nobody := n.As("", "")
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		if a, err := nobody.Do("GET", path, nil, "X-Request-Id", "well"); err != nil || a.Status != 200 {
			t.Errorf("%s: got %v and %v, want 200", path, a, err)
		}
	}
	n.Server.Drain()
	nobody.Refused(t, 503, "draining", "GET", "/readyz", nil, "X-Request-Id", "ill")
	nobody.Refused(t, 405, "method_not_allowed", "POST", "/metrics", nil, "X-Request-Id", "wrong")
	n.Stop()
	got := log.String()
	for line, want := range map[string]bool{
		"request_id=well":                       false,
		"level=WARN msg=request request_id=ill": true, "level=INFO msg=request request_id=wrong": true,
	} {
		if strings.Contains(got, line) != want {
			t.Errorf("got a log with %q: %v, want %v:\n%s", line, !want, want, got)
		}
	}
}
