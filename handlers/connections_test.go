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
	"syscall"
	"testing"
	"time"

	"fabric-guild/handlers"
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
	if !eventually(func() bool { b, i := handlers.Counted(n.listener); return b == busy && i == idle }) {
		b, i := handlers.Counted(n.listener)
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

// Loopback and trusted proxies come for many clients, so that their connections are not bounded by their address.
func TestConnectionsOfProxies(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		trusted string
		from    string
		counts  bool
	}{
		"loopback":          {"", "127.0.0.1:1", false},
		"loopback, IPv6":    {"", "[::1]:1", false},
		"mapped":            {"", "[::ffff:127.0.0.1]:1", false},
		"a client":          {"", "192.0.2.1:1", true},
		"a trusted proxy":   {"192.0.2.0/24", "192.0.2.1:1", false},
		"beside the proxy":  {"192.0.2.0/24", "192.0.3.1:1", true},
		"an untrusted peer": {"2001:db8::/64", "[2001:db8:0:1::1]:1", true},
	} {
		if got := handlers.Counts(tt.trusted, tt.from); got != tt.counts {
			t.Errorf("%s: got %v, want %v", name, got, tt.counts)
		}
	}
}

// Where all connections are busy a newcomer waits until one ends; a listener that is closed lets nobody wait.
func TestConnectionsInTotal(t *testing.T) {
	t.Parallel()
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := handlers.Bound(plain, 2)
	var dialed []net.Conn
	for range 3 { // the system takes them all
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		dialed = append(dialed, conn)
	}
	var accepted []net.Conn
	for range 2 {
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		handlers.Busy(l, conn)
		accepted = append(accepted, conn)
	}
	if _, ok := accepted[0].(syscall.Conn); !ok {
		t.Errorf("got %T, want what a TCP connection can do", accepted[0])
	}
	third := make(chan string, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			third <- err.Error()
			return
		}
		handlers.Busy(l, conn)
		third <- conn.RemoteAddr().String()
	}()
	if !eventually(func() bool { return handlers.Waits(l) }) {
		t.Fatal("got nobody who waits")
	}
	select {
	case got := <-third:
		t.Fatalf("got a third connection, %s, want it to wait", got)
	default:
	}
	_ = accepted[0].Close()
	_ = accepted[0].Close() // once more gives no second place
	if got, want := <-third, dialed[2].LocalAddr().String(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if busy, idle := handlers.Counted(l); busy != 2 || idle != 0 {
		t.Errorf("got %d busy connections and %d idle ones, want 2 and 0", busy, idle)
	}
	go func() {
		_, err := l.Accept()
		third <- fmt.Sprint(errors.Is(err, net.ErrClosed))
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if !eventually(func() bool { return handlers.Waits(l) }) {
		t.Fatal("got nobody who waits")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := <-third; got != "true" {
		t.Error("got another error than net.ErrClosed")
	}
}
