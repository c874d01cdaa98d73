package handlers_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"fabric-guild/db"
	"fabric-guild/handlers"
	"fabric-guild/handlers/auth"

	"github.com/google/go-cmp/cmp"
)

// A syncBuffer is a log that several goroutines write.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// A token in a URL is refused for what it is, and neither it nor any other secret reaches the log.
func TestNoSecretReachesTheLog(t *testing.T) {
	t.Parallel()
	for _, over := range transports {
		t.Run(over.name, func(t *testing.T) {
			t.Parallel()
			log := &syncBuffer{}
			n := start(t, setup{r3labs: over.r3labs, tls: over.tls, logger: slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
			alice, nobody := n.user("alice"), n.as("", "")
			id := alice.create(t, newChannel{GuildID: "g1", Name: "SECRETNAME", XType: "general"}).Channel.ID
			for _, name := range []string{"token", "access_token", "Authorization", "TOKEN"} {
				query := "?" + name + "=" + alice.token
				for _, u := range []*user{alice, nobody} {
					u.refused(t, 400, "token_in_query", "GET", "/api/me"+query, nil)
					u.refused(t, 400, "token_in_query", "GET", "/api/stream"+query, nil)
					u.refused(t, 400, "token_in_query", "GET", "/api/channels"+query+"&page=%zz", nil)
				}
				alice.refused(t, 400, "token_in_query", "POST", "/api/channels/"+id+"/messages"+query, body{"content": "hi"})
			}
			alice.post(t, id, "SECRETTEXT")
			alice.refused(t, 422, "invalid", "POST", "/api/channels/"+id+"/messages", body{"content": "SECRETTEXT\x00"})
			alice.refused(t, 400, "malformed", "POST", "/api/channels/"+id+"/messages", body{"SECRETTEXT": "SECRETTEXT"})
			alice.refused(t, 403, "guild_forbidden", "POST", "/api/channels", newChannel{GuildID: "g1", Name: "SECRETNAME", XType: "general"}, "Authorization", "Bearer "+n.user("bob", "g2").token)
			nobody.refused(t, 401, "token_invalid", "GET", "/api/me", nil, "Authorization", "Bearer SECRETTOKEN", "Cookie", "fabric_session=SECRETTOKEN; __Host-fabric_session=SECRETTOKEN")
			nobody.refused(t, 401, "token_invalid", "GET", "/api/me", nil, "Cookie", "fabric_session=SECRETTOKEN; __Host-fabric_session=SECRETTOKEN")
			if _, err := alice.do("POST", "/api/session", nil); err != nil {
				t.Error(err)
			}
			s, _ := alice.fresh(t, over, "?echo=true")
			alice.post(t, id, "SECRETTEXT")
			s.next(t)
			s.close()
			n.stop()
			got := log.String()
			for _, secret := range []string{alice.token, alice.token[strings.LastIndex(alice.token, "."):], "SECRET", "token="} {
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
	log := &syncBuffer{}
	_, handler := handlers.New(handlers.Config{
		Logger: slog.New(slog.NewJSONHandler(log, nil)), Tokens: tokens, DB: &db.DB{Doorbell: &db.Doorbell{}}, // which is not open
	})
	web := httptest.NewServer(handler)
	defer web.Close()
	token, err := tokens.Sign("alice", nil, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	u := &user{&node{t: t, url: web.URL, client: web.Client()}, "alice", token}
	const path = "/api/channels/01a20138-0000-7000-8000-000000000000/activity" // asks the router, which is missing
	draft := body{"kind": "draft", "text": "SECRETTEXT"}
	p := u.refused(t, 500, "internal", "POST", path, draft, "Cookie", "fabric_session=SECRETTOKEN")
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
	for _, over := range transports {
		t.Run(over.name, func(t *testing.T) {
			t.Parallel()
			log := &syncBuffer{}
			n := start(t, setup{basePath: "/chat", r3labs: over.r3labs, tls: over.tls, logger: slog.New(slog.NewJSONHandler(log, nil))})
			alice := n.user("alice")
			alice.refused(t, 404, "not_found", "GET", "/none?q=1", nil, "X-Request-Id", "first")
			if a, err := alice.do("GET", "/api/me", nil, "X-Request-Id", "second"); err != nil || a.status != 200 {
				t.Errorf("got %v and error %v, want 200", a, err)
			}
			s := alice.open(t, over, "", "X-Request-Id", "third")
			if strings.Contains(log.String(), "third") {
				t.Error("got a stream's line while it is open, want it at the end")
			}
			s.close()
			n.stop()
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

// Probes come every few seconds: what they find well is not told at the info level, and what they find ill is.
func TestProbesAreQuietWhileAllIsWell(t *testing.T) {
	t.Parallel()
	log := &syncBuffer{}
	n := start(t, setup{logger: slog.New(slog.NewTextHandler(log, nil))})
	n.awaitReadyz(t, "")
	nobody := n.as("", "")
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		if a, err := nobody.do("GET", path, nil, "X-Request-Id", "well"); err != nil || a.status != 200 {
			t.Errorf("%s: got %v and %v, want 200", path, a, err)
		}
	}
	n.server.Drain()
	nobody.refused(t, 503, "draining", "GET", "/readyz", nil, "X-Request-Id", "ill")
	nobody.refused(t, 405, "method_not_allowed", "POST", "/metrics", nil, "X-Request-Id", "wrong")
	n.stop()
	got := log.String()
	for line, want := range map[string]bool{"request_id=well": false, "level=WARN msg=request request_id=ill": true, "level=INFO msg=request request_id=wrong": true} {
		if strings.Contains(got, line) != want {
			t.Errorf("got a log with %q: %v, want %v:\n%s", line, !want, want, got)
		}
	}
}
