package edge

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"testing"

	"fabric-guild/events/ssetest"
)

// Loopback and trusted proxies come for many clients, so that their connections are not bounded by their
// address.
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
		var trusted []netip.Prefix
		if tt.trusted != "" {
			trusted = append(trusted, netip.MustParsePrefix(tt.trusted))
		}
		if got := NewListener(nil, 1, forMany(trusted)).counted(tt.from).IsValid(); got != tt.counts {
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
	l := NewListener(plain, 2, nil)
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
		l.state(conn, http.StateActive)
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
		l.state(conn, http.StateActive)
		third <- conn.RemoteAddr().String()
	}()
	if !ssetest.Await(l.waiting.Load) {
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
	if n := l.Connections(); n.Open != 2 || n.Idle != 0 {
		t.Errorf("got %d connections, %d of them idle, want 2 and 0", n.Open, n.Idle)
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
	if !ssetest.Await(l.waiting.Load) {
		t.Fatal("got nobody who waits")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := <-third; got != "true" {
		t.Error("got another error than net.ErrClosed")
	}
}
