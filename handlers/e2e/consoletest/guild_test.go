package consoletest

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"testing"
	"time"

	"fabric-guild/db/dbtest"
	"fabric-guild/events/ssetest"
	"fabric-guild/handlers/auth"
	"fabric-guild/handlers/edge"
	"fabric-guild/handlers/node"
)

// patience is how long a test waits for something that must happen.
const patience = ssetest.Patience

func eventually(condition func() bool) bool { return ssetest.Await(condition) }

// A guild is one server, as the command serve runs it, and its database.
type guild struct {
	t        *testing.T
	basePath string
	url      string // with the base path
	database string
	node     *node.Node
	tokens   *auth.Tokens
}

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		fmt.Println("skipped by -short: it needs Chromium")
		return
	}
	os.Exit(dbtest.Main(m))
}

// start starts a server below basePath, and stops it at the end of the test. Pages of origins may use its
// API.
func start(t *testing.T, basePath string, origins ...string) *guild {
	t.Helper()
	g := &guild{t: t, basePath: basePath, database: dbtest.New(t)}
	var err error
	if g.tokens, err = auth.OpenTokens(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	listener, err := edge.Listen(t.Context(), "127.0.0.1:0", 1000, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := node.Config{DatabaseURL: g.database}
	c.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	c.Tokens, c.Listener, c.BasePath, c.AllowOrigins = g.tokens, listener, basePath, origins
	if g.node, err = node.Open(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	g.node.Run()
	g.url = "http://" + listener.Addr().String() + basePath
	t.Cleanup(func() {
		if err := g.node.Drain(patience, patience); err != nil {
			t.Error("streams or requests do not end:", err)
		}
		g.node.Close()
	})
	return g
}

// settle waits until the server has read the event log to its end.
func (g *guild) settle(t *testing.T) {
	t.Helper()
	head, err := g.node.DB.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !eventually(func() bool { return g.node.Router.Position().Seq >= head.Seq }) {
		t.Fatalf("got position %v, want %v at least", g.node.Router.Position(), head)
	}
}

// exec changes the database.
func (g *guild) exec(t *testing.T, statement string, args ...any) {
	t.Helper()
	if _, err := dbtest.Connect(t, g.database).Exec(t.Context(), statement, args...); err != nil {
		t.Fatal(err)
	}
}

// A user has a token for one server.
type user struct {
	g         *guild
	id, token string
}

func (g *guild) user(id string, guilds ...string) *user {
	g.t.Helper()
	token, err := g.tokens.Sign(id, guilds, time.Hour)
	if err != nil {
		g.t.Fatal(err)
	}
	return &user{g, id, token}
}

type body map[string]any

// An answer is one of the server.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// do sends a request with a JSON body. headers are names and values in turn.
func (u *user) do(method, path string, body any, headers ...string) (a answer, err error) {
	var content []byte
	if body != nil {
		if content, err = json.Marshal(body); err != nil {
			return a, err
		}
	}
	ctx, cancel := context.WithTimeout(u.g.t.Context(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, u.g.url+path, bytes.NewReader(content))
	if err != nil {
		return a, err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if u.token != "" {
		r.Header.Set("Authorization", "Bearer "+u.token)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return a, err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, b}, err
}

// call sends a request and returns its answer, which must have the status.
func call[T any](t *testing.T, u *user, status int, method, path string, body any) (v T) {
	t.Helper()
	a, err := u.do(method, path, body)
	if err != nil {
		t.Fatal(err)
	}
	if a.status != status {
		t.Fatalf("%s: %s %s: got %d %s, want status %d", u.id, method, path, a.status, a.body, status)
	}
	if err := json.Unmarshal(a.body, &v); err != nil {
		t.Fatalf("%s: %s %s: got %s: %v", u.id, method, path, a.body, err)
	}
	return v
}

type channel struct {
	ID string `json:"id"`
}

type created struct {
	Channel channel `json:"channel"`
	Cursor  string  `json:"cursor"`
}

type message struct {
	ID string `json:"id"`
}

type posted struct {
	Message message `json:"message"`
	Cursor  string  `json:"cursor"`
}

// create creates a channel of an x-type.
func (u *user) create(t *testing.T, b body) created {
	t.Helper()
	return call[created](t, u, 201, "POST", "/api/channels", b)
}

// general creates a channel of the general type.
func (u *user) general(t *testing.T, name string, members ...string) created {
	t.Helper()
	return u.create(t, body{
		"guildId": "g1", "name": name, "xType": "general",
		"memberUserIds": append([]string{}, members...),
	})
}

func (u *user) post(t *testing.T, channel, content string) posted {
	t.Helper()
	return call[posted](t, u, 201, "POST", "/api/channels/"+channel+"/messages", body{"content": content})
}

func (u *user) edit(t *testing.T, message, content string) {
	t.Helper()
	call[body](t, u, 200, "PATCH", "/api/messages/"+message, body{"content": content})
}

func (u *user) add(t *testing.T, channel, other string) {
	t.Helper()
	call[body](t, u, 200, "PUT", "/api/channels/"+channel+"/members/"+other, nil)
}

func (u *user) remove(t *testing.T, channel, other string) {
	t.Helper()
	call[body](t, u, 200, "DELETE", "/api/channels/"+channel+"/members/"+other, nil)
}

// lease is how many seconds a claim lasts: the longest, since a page may take minutes on a busy machine.
const lease = 600

// A wake is work that a user has claimed.
type wake struct {
	ID string `json:"id"`
}

// claim claims the oldest wake, and waits for one for up to wait seconds. It returns nil if there is none.
func (u *user) claim(t *testing.T, wait int) *wake {
	t.Helper()
	return call[struct {
		Wake *wake `json:"wake"`
	}](t, u, 200, "POST", "/api/wakes/claim", body{"waitSeconds": wait, "leaseSeconds": lease}).Wake
}

// wake claims the oldest wake. The test ends if none comes.
func (u *user) wake(t *testing.T) *wake {
	t.Helper()
	w := u.claim(t, 60)
	if w == nil {
		t.Fatal("got no wake, want one")
	}
	return w
}

// extend says what the worker of a wake does.
func (u *user) extend(t *testing.T, w *wake, status string) {
	t.Helper()
	call[body](t, u, 200, "POST", "/api/wakes/"+w.ID+"/extend", body{"status": status, "leaseSeconds": lease})
}
