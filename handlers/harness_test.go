package handlers_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"
	"fabric-guild/events/live"
	"fabric-guild/events/ssetest"
	"fabric-guild/handlers"
	"fabric-guild/handlers/auth"
	"fabric-guild/handlers/center"
	"fabric-guild/handlers/center/centertest"
	"fabric-guild/handlers/config"
	"fabric-guild/handlers/edge"
	running "fabric-guild/handlers/node"
)

func TestMain(m *testing.M) { os.Exit(dbtest.Main(m)) }

// patience is how long a test waits for what must come.
const patience = ssetest.Patience

// A transport is a way in which streams are served.
type transport struct {
	name   string
	r3labs bool // the node serves HTTP/1 by r3labs too
	h2c    bool // the client speaks HTTP/2 with prior knowledge
	tls    bool
	h2     bool // the client speaks HTTP/2 over TLS
}

var (
	raw        = transport{name: "raw"}
	transports = []transport{
		raw, {name: "h2c", h2c: true}, {name: "r3labs", r3labs: true}, {name: "TLS", tls: true}, {name: "h2", tls: true, h2: true},
	}
)

// long marks a test that go test -short leaves out: it takes long, or needs another program than Postgres.
func long(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("left out by -short")
	}
}

// overTransports runs a test once for each transport, on a node of its own.
func overTransports(t *testing.T, test func(t *testing.T, n *node, over transport)) {
	t.Helper()
	for _, over := range transports {
		if testing.Short() && over != raw {
			continue
		}
		t.Run(over.name, func(t *testing.T) {
			t.Parallel()
			test(t, start(t, setup{r3labs: over.r3labs, tls: over.tls}), over)
		})
	}
}

// setup is what a node is started with. What is empty is made for it.
type setup struct {
	database   string // URL
	state      string // directory of the token key
	basePath   string
	r3labs     bool
	center     *centertest.Server // nil: the program is its own authority
	admin      string             // without Center; empty: there is none
	twoState   bool
	tls        bool
	edge       config.Edge
	hosts      []string           // nil: any
	tune       func(*http.Server) // nil: as it is
	logger     *slog.Logger
	sendBuffer int // of accepted connections, in bytes

	connections int // that are open at once, as the program bounds them; 0: any number

	streamMaxAge time.Duration // 0: for ever
}

// A node is one server, as the command serve runs it.
type node struct {
	setup
	t        testing.TB
	url      string // up to the base path
	db       *db.DB
	router   *live.Router
	server   *handlers.Server
	tokens   *auth.Tokens
	key      *auth.OperatorKey
	listener *edge.Listener
	client   *http.Client
	label    string
	stop     func() // streams, requests, readers, pool; may be called more than once
}

var nodes atomic.Int64

// start starts a node and stops it at the test's end. A goroutine that outlives it is an error.
func start(t testing.TB, s setup) *node {
	t.Helper()
	if s.database == "" {
		s.database = dbtest.New(t)
	}
	if s.state == "" {
		s.state = t.TempDir()
	}
	if s.logger == nil {
		s.logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	}
	n := &node{setup: s, t: t, label: fmt.Sprint("node", nodes.Add(1)), client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, TLSClientConfig: trusting()}}}
	var err error
	if n.tokens, err = auth.OpenTokens(s.state); err != nil {
		t.Fatal(err)
	}
	if n.key, err = auth.OpenOperatorKey(s.state); err != nil {
		t.Fatal(err)
	}
	// The label is inherited by every goroutine of the node, which tells them from the client's and from
	// those of tests that run beside this one.
	pprof.Do(t.Context(), pprof.Labels("node", n.label), func(ctx context.Context) { n.run(ctx) })
	t.Cleanup(n.stop)
	return n
}

func (n *node) run(ctx context.Context) {
	n.t.Helper()
	authority, admin := n.authority()
	plain, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		n.t.Fatal(err)
	}
	n.listener = edge.NewListener(narrow{plain, n.sendBuffer}, cmp.Or(n.connections, 1<<20), nil)
	c := running.Config{DatabaseURL: n.database}
	c.Logger = n.logger
	c.Tokens, c.Operator = n.tokens, n.key
	c.Center, c.Admin = authority, admin
	c.Listener = n.listener
	c.BasePath = n.basePath
	c.R3labsOnly, c.TwoState = n.r3labs, n.twoState
	c.StreamMaxAge = n.streamMaxAge
	c.RateLimit = n.edge.RateLimit
	c.MaxStreams, c.MaxStreamsPerAddress = n.edge.MaxStreams, n.edge.MaxStreamsPerAddress
	c.TrustedProxies, c.AllowOrigins = n.edge.TrustedProxies, n.edge.AllowOrigins
	c.Hosts = n.hosts
	n.url = "http://" + n.listener.Addr().String() + n.basePath
	if n.tls {
		n.url = "https" + strings.TrimPrefix(n.url, "http")
		certFile, keyFile := certificate(n.t)
		if c.Certificate, err = edge.OpenCertificate(certFile, keyFile, n.logger); err != nil {
			n.t.Fatal(err)
		}
	}
	server, err := running.Open(ctx, c)
	if err != nil {
		n.t.Fatal(err)
	}
	n.db, n.router, n.server = server.DB, server.Router, server.Server
	if n.tune != nil {
		n.tune(server.HTTP)
	}
	server.Run()

	stop := sync.OnceFunc(func() {
		if authority != nil {
			defer authority.Close()
		}
		defer admin.Close()
		defer server.Close()
		defer n.client.CloseIdleConnections()
		if err := server.Drain(patience, patience); err != nil {
			n.t.Error("streams or requests do not end:", err)
		}
	})
	n.stop = func() {
		stop()
		n.wantGoroutines(n.t, 0)
	}
}

// authority is the client of Center, nil without it, and the admin.
func (n *node) authority() (*center.Client, *center.AdminCache) {
	n.t.Helper()
	if n.center == nil {
		if n.admin == "" {
			return nil, center.FixedAdmin(nil)
		}
		return nil, center.FixedAdmin(&center.Admin{Email: n.admin + "@example.org", UserID: n.admin})
	}
	client, err := center.New(n.center.URL, n.center.APIKey, n.logger)
	if err != nil {
		n.t.Fatal(err)
	}
	return client, center.NewAdminCache(client, n.logger)
}

// narrow sets the send buffer of what it accepts, so that a client which takes no bytes is felt soon.
type narrow struct {
	net.Listener
	sendBuffer int
}

func (l narrow) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil && l.sendBuffer > 0 {
		err = conn.(*net.TCPConn).SetWriteBuffer(l.sendBuffer)
	}
	return conn, err
}

// goroutines are the node's, as stacks of which each stands for one or more, and how many they are.
func (n *node) goroutines() (count int, stacks string) {
	var all, ours bytes.Buffer
	_ = pprof.Lookup("goroutine").WriteTo(&all, 1)  // a buffer takes everything
	_, blocks, _ := strings.Cut(all.String(), "\n") // the first line is their total
	for block := range strings.SplitSeq(blocks, "\n\n") {
		if strings.Contains(block, fmt.Sprintf(`"node":%q`, n.label)) {
			var same int
			_, _ = fmt.Sscanf(block, "%d @", &same)
			count += same
			ours.WriteString(block + "\n\n")
		}
	}
	return count, ours.String()
}

// wantGoroutines waits until the node has no more than want.
func (n *node) wantGoroutines(t testing.TB, want int) {
	t.Helper()
	var got int
	var stacks string
	if !eventually(func() bool {
		got, stacks = n.goroutines()
		return got <= want
	}) {
		t.Errorf("got %d goroutines, want %d at most:\n%s", got, want, stacks)
	}
}

// settle waits until the node has read the log up to where it now ends.
func (n *node) settle(t *testing.T) {
	t.Helper()
	head, err := n.db.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !eventually(func() bool { return n.router.Position().Seq >= head.Seq }) {
		t.Fatalf("got position %v, want %v at least", n.router.Position(), head)
	}
}

// eventually waits for a condition, and reports whether it came.
func eventually(condition func() bool) bool { return ssetest.Await(condition) }

// A user is someone with a token, and the node that they speak to.
type user struct {
	n         *node
	id, token string
}

func (n *node) user(id string, guilds ...string) *user {
	n.t.Helper()
	if n.center != nil {
		token := "token-of-" + id
		n.center.SetToken(token, centertest.Token{UserID: id, Guilds: guilds})
		return n.as(id, token)
	}
	token, err := n.tokens.Sign(id, guilds, time.Hour)
	if err != nil {
		n.t.Fatal(err)
	}
	return n.as(id, token)
}

// as returns a user with this token. It may be empty or invalid.
func (n *node) as(id, token string) *user { return &user{n, id, token} }

// at is the same user at another node.
func (u *user) at(n *node) *user { return &user{n, u.id, u.token} }

type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.status, a.body) }

// do sends a request as JSON; a string goes as it is. headers are names and values by turns.
func (u *user) do(method, path string, body any, headers ...string) (answer, error) {
	var content io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		content = strings.NewReader(b)
	default:
		encoded, err := json.Marshal(b)
		if err != nil {
			return answer{}, err
		}
		content = bytes.NewReader(encoded)
	}
	ctx, cancel := context.WithTimeout(u.n.t.Context(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, u.n.url+path, content)
	if err != nil {
		return answer{}, err
	}
	if u.token != "" {
		r.Header.Set("Authorization", "Bearer "+u.token)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		if r.Header.Set(headers[i], headers[i+1]); headers[i+1] == "" {
			r.Header.Del(headers[i])
		}
	}
	a, err := u.send(r)
	if err == nil {
		holdAnswer(u.n.t, method, path, a)
	}
	return a, err
}

// send sends a request as it is.
func (u *user) send(r *http.Request) (answer, error) {
	resp, err := u.n.client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, b}, err
}

// ask is do for a status and a shape: an answer that differs in either is an error.
func ask[T any](u *user, status int, method, path string, body any) (v T, err error) {
	a, err := u.do(method, path, body)
	if err != nil {
		return v, err
	}
	if a.status != status {
		return v, fmt.Errorf("%s: %s %s: got %v, want status %d", u.id, method, path, a, status)
	}
	if err := strictly(a.body, &v); err != nil {
		return v, fmt.Errorf("%s: %s %s: %w: %v", u.id, method, path, err, a)
	}
	return v, nil
}

// call is ask on the test's own goroutine.
func call[T any](t testing.TB, u *user, status int, method, path string, body any) T {
	t.Helper()
	v, err := ask[T](u, status, method, path, body)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// strictly decodes JSON whose every member is known.
func strictly(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return d.Decode(v)
}
