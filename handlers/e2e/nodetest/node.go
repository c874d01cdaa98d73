package nodetest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
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

// A Transport is a way to serve a stream, and the client's side of it.
type Transport struct {
	Name   string
	R3labs bool // the node serves HTTP/1 by r3labs too
	H2c    bool // the client speaks HTTP/2 with prior knowledge
	TLS    bool
	H2     bool // the client speaks HTTP/2 over TLS
}

var (
	Raw        = Transport{Name: "raw"}
	Transports = []Transport{
		Raw,
		{Name: "h2c", H2c: true},
		{Name: "r3labs", R3labs: true},
		{Name: "TLS", TLS: true},
		{Name: "h2", TLS: true, H2: true},
	}
)

// OverTransports runs a test once for each transport. Each run has its own node.
func OverTransports(t *testing.T, test func(t *testing.T, n *Node, over Transport)) {
	t.Helper()
	EachTransport(t, func(t *testing.T, over Transport) {
		test(t, Start(t, Setup{R3labs: over.R3labs, TLS: over.TLS}), over)
	})
}

// EachTransport is OverTransports for tests that set up their nodes themselves. With -short it runs the test
// for Raw alone.
func EachTransport(t *testing.T, test func(t *testing.T, over Transport)) {
	t.Helper()
	for _, over := range Transports {
		if testing.Short() && over != Raw {
			continue
		}
		t.Run(over.Name, func(t *testing.T) {
			t.Parallel()
			test(t, over)
		})
	}
}

// A Setup has the settings of a node. Start chooses a value for each empty field.
type Setup struct {
	Database   string // URL
	State      string // directory of the token key
	BasePath   string
	R3labs     bool
	Center     *centertest.Server // nil: the program is its own authority
	Admin      string             // without Center; empty: there is none
	TwoState   bool
	TLS        bool
	Edge       config.Edge
	Hosts      []string           // nil: any
	Tune       func(*http.Server) // nil: as it is
	Logger     *slog.Logger
	SendBuffer int // of accepted connections, in bytes

	Connections int // that are open at once, as the program bounds them; 0: any number

	StreamMaxAge time.Duration // 0: for ever
}

// A Node is a server in the test's process. It is put together like the server of the command serve.
type Node struct {
	Setup
	T        testing.TB
	URL      string // up to the base path
	DB       *db.DB
	Router   *live.Router
	Server   *handlers.Server
	Tokens   *auth.Tokens
	key      *auth.OperatorKey
	Listener *edge.Listener
	Client   *http.Client
	Label    string
	Stop     func() // streams, requests, readers, pool; may be called more than once

	sql *sql
}

var nodes atomic.Int64

// Start starts a node, and stops it at the end of the test. The test fails if a goroutine of the node still
// runs then.
func Start(t testing.TB, s Setup) *Node {
	t.Helper()
	if s.Database == "" {
		s.Database = dbtest.New(t)
	}
	if s.State == "" {
		s.State = t.TempDir()
	}
	if s.Logger == nil {
		s.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	}
	n := &Node{
		Setup: s, T: t, sql: &sql{}, Label: fmt.Sprint("node", nodes.Add(1)),
		Client: &http.Client{Transport: &http.Transport{
			MaxIdleConnsPerHost: 64,
			TLSClientConfig:     Trusting(),
		}},
	}
	var err error
	if n.Tokens, err = auth.OpenTokens(s.State); err != nil {
		t.Fatal(err)
	}
	if n.key, err = auth.OpenOperatorKey(s.State); err != nil {
		t.Fatal(err)
	}
	// The label is inherited by every goroutine of the node, which tells them from the client's and from
	// those of tests that run beside this one.
	pprof.Do(t.Context(), pprof.Labels("node", n.Label), func(ctx context.Context) { n.run(ctx) })
	t.Cleanup(n.Stop)
	return n
}

func (n *Node) run(ctx context.Context) {
	n.T.Helper()
	authority, admin := n.authority()
	plain, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		n.T.Fatal(err)
	}
	n.Listener = edge.NewListener(narrow{plain, n.SendBuffer}, cmp.Or(n.Connections, 1<<20), nil)
	c := running.Config{DatabaseURL: n.Database}
	c.Logger = n.Logger
	c.Tokens, c.Operator = n.Tokens, n.key
	c.Center, c.Admin = authority, admin
	c.Listener = n.Listener
	c.BasePath = n.BasePath
	c.R3labsOnly, c.TwoState = n.R3labs, n.TwoState
	c.StreamMaxAge = n.StreamMaxAge
	c.RateLimit = n.Edge.RateLimit
	c.MaxStreams, c.MaxStreamsPerAddress = n.Edge.MaxStreams, n.Edge.MaxStreamsPerAddress
	c.TrustedProxies, c.AllowOrigins = n.Edge.TrustedProxies, n.Edge.AllowOrigins
	c.Hosts = n.Hosts
	n.URL = "http://" + n.Listener.Addr().String() + n.BasePath
	if n.TLS {
		n.URL = "https" + strings.TrimPrefix(n.URL, "http")
		certFile, keyFile := certificate(n.T)
		if c.Certificate, err = edge.OpenCertificate(certFile, keyFile, n.Logger); err != nil {
			n.T.Fatal(err)
		}
	}
	server, err := running.Open(ctx, c)
	if err != nil {
		n.T.Fatal(err)
	}
	n.DB, n.Router, n.Server = server.DB, server.Router, server.Server
	if n.Tune != nil {
		n.Tune(server.HTTP)
	}
	server.Run()

	stop := sync.OnceFunc(func() {
		if authority != nil {
			defer authority.Close()
		}
		defer admin.Close()
		defer server.Close()
		defer n.Client.CloseIdleConnections()
		if err := server.Drain(ssetest.Patience, ssetest.Patience); err != nil {
			n.T.Error("streams or requests do not end:", err)
		}
	})
	n.Stop = func() {
		stop()
		n.WantGoroutines(n.T, 0)
	}
}

// authority returns the client of Center, or nil without Center, and the admin.
func (n *Node) authority() (*center.Client, *center.AdminCache) {
	n.T.Helper()
	if n.Center == nil {
		if n.Admin == "" {
			return nil, center.FixedAdmin(nil)
		}
		return nil, center.FixedAdmin(&center.Admin{Email: n.Admin + "@example.org", UserID: n.Admin})
	}
	client, err := center.New(n.Center.URL, n.Center.APIKey, n.Logger)
	if err != nil {
		n.T.Fatal(err)
	}
	return client, center.NewAdminCache(client, n.Logger)
}

// narrow sets the send buffer of the connections that it accepts. With a small buffer, the server soon
// notices a client that reads nothing.
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

// Goroutines returns the number of goroutines of the node, and their stacks. Equal stacks are listed once.
func (n *Node) Goroutines() (count int, stacks string) {
	var all, ours bytes.Buffer
	_ = pprof.Lookup("goroutine").WriteTo(&all, 1)  // a buffer takes everything
	_, blocks, _ := strings.Cut(all.String(), "\n") // the first line is their total
	for block := range strings.SplitSeq(blocks, "\n\n") {
		if strings.Contains(block, fmt.Sprintf(`"node":%q`, n.Label)) {
			var same int
			_, _ = fmt.Sscanf(block, "%d @", &same)
			count += same
			ours.WriteString(block + "\n\n")
		}
	}
	return count, ours.String()
}

// WantGoroutines waits until the node has at most want goroutines.
func (n *Node) WantGoroutines(t testing.TB, want int) {
	t.Helper()
	var got int
	var stacks string
	if !ssetest.Await(func() bool {
		got, stacks = n.Goroutines()
		return got <= want
	}) {
		t.Errorf("got %d goroutines, want %d at most:\n%s", got, want, stacks)
	}
}
