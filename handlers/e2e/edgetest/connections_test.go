package edgetest_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"fabric-guild/events/ssetest"
	"fabric-guild/handlers/e2e/nodetest"
)

// dialRaw opens a connection to the node on which the test writes for itself.
func dialRaw(t *testing.T, n *nodetest.Node) net.Conn {
	t.Helper()
	_, addr, _ := strings.Cut(strings.TrimSuffix(n.URL, n.BasePath), "://")
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(ssetest.Patience))
	if n.TLS {
		conn = tls.Client(conn, &tls.Config{RootCAs: nodetest.Trusting().RootCAs, ServerName: "localhost"})
	}
	return conn
}

const aRequest = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"

// talk sends a request and reads its answer, on a connection that then stays.
func talk(t *testing.T, conn net.Conn) int {
	t.Helper()
	if _, err := io.WriteString(conn, aRequest); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// wantConnections waits until the metrics count the given number of connections.
func wantConnections(t *testing.T, n *nodetest.Node, busy, idle int) {
	t.Helper()
	count := func() (nowBusy, nowIdle int) {
		c := n.Listener.Connections()
		return c.Open - c.Idle, c.Idle
	}
	if !ssetest.Await(func() bool { b, i := count(); return b == busy && i == idle }) {
		b, i := count()
		t.Fatalf("got %d busy connections and %d idle ones, want %d and %d", b, i, busy, idle)
	}
}

// When all places are taken, a newcomer gets that of the connection that was idle for longest: one that sent
// nothing, half a head, or one request and then nothing. Streams are never idle.
func TestIdleConnectionsMakeRoom(t *testing.T) {
	t.Parallel()
	nodetest.EachTransport(t, func(t *testing.T, over nodetest.Transport) {
		const places = 6
		n := nodetest.Start(t, nodetest.Setup{R3labs: over.R3labs, TLS: over.TLS, Connections: places})
		alice := n.User("alice")
		ops := alice.General(t, "ops", "bob").Channel.ID
		n.Client.CloseIdleConnections()
		stream, _ := n.User("bob").Fresh(t, over, "")
		wantConnections(t, n, 1, 0)
		idle := []net.Conn{dialRaw(t, n), dialRaw(t, n), dialRaw(t, n)}
		if !n.TLS {
			if _, err := io.WriteString(idle[1], aRequest[:20]); err != nil {
				t.Fatal(err)
			}
		}
		wantConnections(t, n, 1, 3)
		for i := range 2 {
			conn := dialRaw(t, n)
			talk(t, conn)
			idle = append(idle, conn)
			wantConnections(t, n, 1, 4+i)
		}
		for i, oldest := range idle {
			newcomer := dialRaw(t, n)
			if got := talk(t, newcomer); got != 200 {
				t.Fatalf("newcomer %d: got %d, want 200", i, got)
			}
			if n.TLS {
				oldest = oldest.(*tls.Conn).NetConn()
			}
			if _, err := io.Copy(io.Discard, oldest); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("newcomer %d: got %v, want the end of the connection that was idle for longest",
					i, err)
			}
			wantConnections(t, n, 1, 5)
		}
		p := alice.Post(t, ops, "hi")
		if got := stream.NextEvent(t).ID; got != p.Cursor {
			t.Errorf("got %s on the stream, want %s", got, p.Cursor)
		}
		stream.Close()
		if over.H2c || over.H2 || over.R3labs {
			stream.Line.HangUp()
		}
		m := n.Scrape(t)
		if got := m.Series["fabric_guild_connections_evicted_total"]; got < float64(len(idle)) {
			t.Errorf("got %v connections evicted, want %d at least", got, len(idle))
		}
		if got := m.Series["fabric_guild_connections_max"]; got != places {
			t.Errorf("got %v connections at most, want %d", got, places)
		}
	})
}

// A connection of HTTP/2 is idle again once its last stream has ended.
func TestAConnectionIsIdleAfterItsStreams(t *testing.T) {
	t.Parallel()
	for _, over := range []nodetest.Transport{nodetest.Transports[1], nodetest.Transports[4]} {
		n := nodetest.Start(t, nodetest.Setup{TLS: over.TLS, Connections: 100})
		l := nodetest.NewLine(over, 0)
		defer l.HangUp()
		for range 2 {
			var open []*nodetest.Stream
			for range 3 {
				s, err := n.User("alice").Dial(l, "")
				if err == nil {
					err = s.Begin()
				}
				if err != nil {
					t.Fatal(err)
				}
				open = append(open, s)
			}
			wantConnections(t, n, 1, 0)
			for _, s := range open {
				s.Close()
			}
			wantConnections(t, n, 0, 1)
		}
	}
}

// One address holds a quarter of the connections at most, streams apart. What is beyond takes the place of an
// idle connection of the same address; where all are busy, it is refused.
func TestConnectionsOfAnAddress(t *testing.T) {
	t.Parallel()
	for _, over := range nodetest.Transports[:2] {
		const each = 16
		n := nodetest.Start(t, nodetest.Setup{Connections: 4 * each})
		alice := n.User("alice")
		ops := alice.General(t, "ops").Channel.ID
		n.Client.CloseIdleConnections()
		wantConnections(t, n, 0, 0)
		for i := range 3 * each / 2 { // streams do not count
			n.User(fmt.Sprint("user", i)).Fresh(t, over, "")
		}
		busy := make([]net.Conn, each)
		for i := range busy {
			busy[i] = dialRaw(t, n)
		}
		wantConnections(t, n, 3*each/2, each)
		for range 2 { // of idle ones the oldest make room
			talk(t, dialRaw(t, n))
			wantConnections(t, n, 3*each/2, each)
		}
		head := "POST /api/channels/" + ops + "/messages HTTP/1.1\r\nHost: localhost\r\nAuthorization: " +
			"Bearer " + alice.Token +
			"\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
		for i := range busy {
			busy[i] = dialRaw(t, n)
			if _, err := io.WriteString(busy[i], head); err != nil {
				t.Fatal(err)
			}
			wantConnections(t, n, 3*each/2+i+1, each-i-1)
		}
		n.Client.CloseIdleConnections()
		a, err := alice.Do("GET", "/api/me", nil)
		if err != nil {
			t.Fatal(err)
		}
		nodetest.WantProblem(t, a, 429, "too_many_connections")
		if s, err := strconv.Atoi(a.Header.Get("Retry-After")); err != nil || s < 1 {
			t.Errorf("got Retry-After %q, want a second or more", a.Header.Get("Retry-After"))
		}
		if got := talk(t, dialRaw(t, n)); got != 200 {
			t.Errorf("/healthz: got %d, want 200", got)
		}
		_ = busy[0].Close()
		if !ssetest.Await(func() bool {
			a, err := alice.Do("GET", "/api/me", nil)
			return err == nil &&
				a.Status == 200
		}) {
			t.Error("got only refusals, want the place that was left")
		}
		if m := n.Scrape(t); m.Series["fabric_guild_connections_refused_total"] < 1 {
			t.Error("got no refusal counted")
		}
	}
}
