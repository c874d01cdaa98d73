package handlers_test

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
)

// dialRaw opens a connection to the node on which the test writes for itself.
func (n *node) dialRaw(t *testing.T) net.Conn {
	t.Helper()
	_, addr, _ := strings.Cut(strings.TrimSuffix(n.url, n.basePath), "://")
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	if n.tls {
		conn = tls.Client(conn, &tls.Config{RootCAs: trusting().RootCAs, ServerName: "localhost"})
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
func (n *node) wantConnections(t *testing.T, busy, idle int) {
	t.Helper()
	count := func() (nowBusy, nowIdle int) {
		c := n.listener.Connections()
		return c.Open - c.Idle, c.Idle
	}
	if !eventually(func() bool { b, i := count(); return b == busy && i == idle }) {
		b, i := count()
		t.Fatalf("got %d busy connections and %d idle ones, want %d and %d", b, i, busy, idle)
	}
}

// When all places are taken, a newcomer gets that of the connection that was idle for longest: one that sent nothing,
// half a head, or one request and then nothing. Streams are never idle.
func TestIdleConnectionsMakeRoom(t *testing.T) {
	t.Parallel()
	for _, over := range transports {
		t.Run(over.name, func(t *testing.T) {
			t.Parallel()
			const places = 6
			n := start(t, setup{r3labs: over.r3labs, tls: over.tls, connections: places})
			alice := n.user("alice")
			ops := alice.general(t, "ops", "bob").Channel.ID
			n.client.CloseIdleConnections()
			stream, _ := n.user("bob").fresh(t, over, "")
			n.wantConnections(t, 1, 0)
			idle := []net.Conn{n.dialRaw(t), n.dialRaw(t), n.dialRaw(t)}
			if !n.tls {
				if _, err := io.WriteString(idle[1], aRequest[:20]); err != nil {
					t.Fatal(err)
				}
			}
			n.wantConnections(t, 1, 3)
			for i := range 2 {
				conn := n.dialRaw(t)
				talk(t, conn)
				idle = append(idle, conn)
				n.wantConnections(t, 1, 4+i)
			}
			for i, oldest := range idle {
				newcomer := n.dialRaw(t)
				if got := talk(t, newcomer); got != 200 {
					t.Fatalf("newcomer %d: got %d, want 200", i, got)
				}
				if n.tls {
					oldest = oldest.(*tls.Conn).NetConn()
				}
				if _, err := io.Copy(io.Discard, oldest); errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("newcomer %d: got %v, want the end of the connection that was idle for longest", i, err)
				}
				n.wantConnections(t, 1, 5)
			}
			p := alice.post(t, ops, "hi")
			if got := stream.next(t).id; got != p.Cursor {
				t.Errorf("got %s on the stream, want %s", got, p.Cursor)
			}
			stream.close()
			if over.h2c || over.h2 || over.r3labs {
				stream.line.hangUp()
			}
			m := n.scrape(t)
			if got := m.series["fabric_guild_connections_evicted_total"]; got < float64(len(idle)) {
				t.Errorf("got %v connections evicted, want %d at least", got, len(idle))
			}
			if got := m.series["fabric_guild_connections_max"]; got != places {
				t.Errorf("got %v connections at most, want %d", got, places)
			}
		})
	}
}

// A connection of HTTP/2 is idle again once its last stream has ended.
func TestAConnectionIsIdleAfterItsStreams(t *testing.T) {
	t.Parallel()
	for _, over := range []transport{transports[1], transports[4]} {
		n := start(t, setup{tls: over.tls, connections: 100})
		l := newLine(over, 0)
		defer l.hangUp()
		for range 2 {
			var open []*stream
			for range 3 {
				s, err := n.user("alice").dial(l, "")
				if err == nil {
					err = s.begin()
				}
				if err != nil {
					t.Fatal(err)
				}
				open = append(open, s)
			}
			n.wantConnections(t, 1, 0)
			for _, s := range open {
				s.close()
			}
			n.wantConnections(t, 0, 1)
		}
	}
}

// One address holds a quarter of the connections at most, streams apart. What is beyond takes the place of an idle
// connection of the same address; where all are busy, it is refused.
func TestConnectionsOfAnAddress(t *testing.T) {
	t.Parallel()
	for _, over := range transports[:2] {
		const each = 16
		n := start(t, setup{connections: 4 * each})
		alice := n.user("alice")
		ops := alice.general(t, "ops").Channel.ID
		n.client.CloseIdleConnections()
		n.wantConnections(t, 0, 0)
		for i := range 3 * each / 2 { // streams do not count
			n.user(fmt.Sprint("user", i)).fresh(t, over, "")
		}
		busy := make([]net.Conn, each)
		for i := range busy {
			busy[i] = n.dialRaw(t)
		}
		n.wantConnections(t, 3*each/2, each)
		for range 2 { // of idle ones the oldest make room
			talk(t, n.dialRaw(t))
			n.wantConnections(t, 3*each/2, each)
		}
		head := "POST /api/channels/" + ops + "/messages HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + alice.token +
			"\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
		for i := range busy {
			busy[i] = n.dialRaw(t)
			if _, err := io.WriteString(busy[i], head); err != nil {
				t.Fatal(err)
			}
			n.wantConnections(t, 3*each/2+i+1, each-i-1)
		}
		n.client.CloseIdleConnections()
		a, err := alice.do("GET", "/api/me", nil)
		if err != nil {
			t.Fatal(err)
		}
		wantProblem(t, a, 429, "too_many_connections")
		if s, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || s < 1 {
			t.Errorf("got Retry-After %q, want a second or more", a.header.Get("Retry-After"))
		}
		if got := talk(t, n.dialRaw(t)); got != 200 {
			t.Errorf("/healthz: got %d, want 200", got)
		}
		_ = busy[0].Close()
		if !eventually(func() bool { a, err := alice.do("GET", "/api/me", nil); return err == nil && a.status == 200 }) {
			t.Error("got refusals for good, want the place that was left")
		}
		if m := n.scrape(t); m.series["fabric_guild_connections_refused_total"] < 1 {
			t.Error("got no refusal counted")
		}
	}
}
