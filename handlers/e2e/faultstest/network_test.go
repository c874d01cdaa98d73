package faultstest

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"fabric-guild/db/dbtest"
	"fabric-guild/db/pgrun"
	"fabric-guild/handlers/e2e/guildtest"
)

// A link is the network between a server and its Postgres.
type link struct {
	t     *testing.T
	proxy *toxiproxy.Proxy
}

// newLink makes a link to a Postgres at an address.
func newLink(t *testing.T, addr string) *link {
	t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	l := &link{t: t, proxy: toxiproxy.NewProxy(server, "postgres", "127.0.0.1:0", addr)}
	if err := l.proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.proxy.Stop)
	return l
}

// spoil adds a toxic to both directions of the link. It affects existing and new connections. heal removes
// the toxic.
func (l *link) spoil(toxic, attributes string) (heal func()) {
	l.t.Helper()
	for _, direction := range []string{"upstream", "downstream"} {
		description := fmt.Sprintf(`{"type": %q, "stream": %q, "attributes": {%s}}`, toxic,
			direction, attributes)
		if _, err := l.proxy.Toxics.AddToxicJson(strings.NewReader(description)); err != nil {
			l.t.Fatal(err)
		}
	}
	return func() { l.proxy.Toxics.ResetToxics(l.t.Context()) }
}

// overNetwork starts a Postgres, a link, and a server that uses the Postgres through the link.
func overNetwork(t *testing.T) (*pgrun.Postgres, *link, *guildtest.Node) {
	t.Helper()
	listen, addr := dbtest.ListenTCP(t)
	pg := dbtest.NewCluster(t, listen...)
	l := newLink(t, addr)
	return pg, l, program.Start(t, guildtest.StateDir(t), "-database-url", dbtest.TCPURL(l.proxy.Listen))
}

func TestNetworkIsCut(t *testing.T) {
	t.Parallel()
	_, l, n := overNetwork(t)
	s := begin(t, n)
	l.proxy.Stop()
	s.n.AwaitReadiness("database_unavailable")
	s.n.AwaitLog(cannotRead + `is it up, and does the database URL lead to it\?`)
	<-time.After(3 * time.Second)
	if err := l.proxy.Start(); err != nil {
		t.Fatal(err)
	}
	s.recovered()
	s.holds()
	s.end()
}

func TestNetworkIsSlow(t *testing.T) {
	t.Parallel()
	_, l, n := overNetwork(t)
	s := begin(t, n)
	heal := l.spoil("latency", `"latency": 100, "jitter": 50`)
	said := s.n.WatchReadiness()
	s.l.AwaitMore(20, guildtest.Recovery)
	s.said(said, guildtest.Ready)
	heal()
	s.recovered()
	s.holds()
	s.end()
}

func TestNetworkIsDelayed(t *testing.T) { silent(t, "latency", `"latency": 2500`) }

// The network accepts all data and all new connections, but passes nothing on.
func TestNetworkSwallowsAll(t *testing.T) { silent(t, "timeout", `"timeout": 0`) }

// silent tests a network through which no answer comes in time.
func silent(t *testing.T, toxic, attributes string) {
	t.Parallel()
	_, l, n := overNetwork(t)
	s := begin(t, n)
	heal := l.spoil(toxic, attributes)
	s.n.AwaitReadiness("database_unavailable")
	<-time.After(5 * time.Second)
	heal()
	s.recovered()
	s.holds()
	s.end()
}

// All connections are dead, but the server gets no sign of that. New connections work.
func TestNetworkIsHalfOpen(t *testing.T) {
	t.Parallel()
	listen, addr := dbtest.ListenTCP(t)
	dbtest.NewCluster(t, listen...)
	g := newGateway(t, addr)
	url := dbtest.TCPURL(g.listener.Addr().String())
	s := begin(t, program.Start(t, guildtest.StateDir(t), "-database-url", url))
	g.forget()
	s.recovered()
	s.holds()
	s.end()
}

// At its start, a server must not wait long for a Postgres that accepts the connection and says nothing. The
// cause may be a firewall, or a machine that hangs.
func TestNetworkSwallowsAllAtTheStart(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	url := "postgres://guild:" + guildtest.Sesame + "@" + silent.Addr().String() + "/guild?sslmode=disable"
	_, stderr, code := program.Run(t, nil,
		"serve", "-state", guildtest.StateDir(t), "-addr", "127.0.0.1:0", "-database-url", url)
	if code != 1 {
		t.Errorf("got exit %d, want 1", code)
	}
	if !guildtest.IsOneLine(stderr) || strings.Contains(stderr, guildtest.Sesame) ||
		!strings.Contains(stderr, "it does not answer in time") {
		t.Errorf("got %q on stderr, want one line that says what is wrong, without the password", stderr)
	}
}
