package faultstest

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers/e2e/guildtest"
)

// onDatabase starts a server with a database on the cluster that all tests share.
func onDatabase(t *testing.T, args ...string) *guildtest.Node {
	t.Helper()
	return program.Start(t, guildtest.StateDir(t), append(args, "-database-url", dbtest.New(t))...)
}

// A dialler makes a client's connections, and remembers the latest one.
type dialler struct {
	net.Dialer
	wrap func(net.Conn) net.Conn // wraps each connection; may be nil

	mu     sync.Mutex
	latest net.Conn
}

func (d *dialler) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.latest = conn
	d.mu.Unlock()
	if d.wrap != nil {
		conn = d.wrap(conn)
	}
	return conn, nil
}

func (d *dialler) conn() net.Conn {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.latest
}

// reader returns a function that starts a reader. The dialler makes the reader's connections.
func (d *dialler) reader(n *guildtest.Node, user string) func(l *guildtest.Load) *guildtest.Reader {
	return func(l *guildtest.Load) *guildtest.Reader { return l.ListenOver(user, n.Base, d.dial) }
}

// held reports whether the server still has the latest connection.
func (d *dialler) held(n *guildtest.Node) bool {
	return n.Connections()[d.conn().LocalAddr().(*net.TCPAddr).Port]
}

// Some clients send nothing any more, not even TCP acknowledgements. Later they come back.
func TestClientsVanish(t *testing.T) {
	t.Parallel()
	n := onDatabase(t)
	gone := []*dialler{{}, {}, {}}
	s := begin(t, n, gone[0].reader(n, "dave"), gone[1].reader(n, "dave"), gone[2].reader(n, "erin"))
	for _, d := range gone {
		silence(t, d.conn())
	}
	began := time.Now()
	s.l.AwaitMore(100, guildtest.Recovery) // the other clients must not wait for them
	s.l.StopWriting()
	s.holds()
	guildtest.Eventually(t, "the server closes the connections of vanished clients", 2*guildtest.Patience,
		func() bool { return !gone[0].held(n) && !gone[1].held(n) && !gone[2].held(n) })
	t.Logf("the server closed the connections after %v", time.Since(began).Round(time.Second))
	for _, d := range gone {
		_ = d.conn().Close() // makes the client reconnect
	}
	s.end()
}

// A throttle reads at most rate bytes every tenth of a second. While open is true, it reads without a limit.
type throttle struct {
	net.Conn
	rate int
	open *atomic.Bool
}

func (c throttle) Read(b []byte) (int, error) {
	if !c.open.Load() {
		<-time.After(100 * time.Millisecond)
		b = b[:min(c.rate, len(b))]
	}
	return c.Conn.Read(b)
}

// Two clients read slowly, and their systems have almost no buffer. The client that reads 40 KB a second
// keeps its stream. The server cuts the client that reads almost nothing, and that client resumes later.
func TestClientsReadSlowly(t *testing.T) {
	t.Parallel()
	n := onDatabase(t)
	small := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 16<<10)
		})
	}}
	var open atomic.Bool
	open.Store(true)
	by := func(rate int) *dialler {
		return &dialler{Dialer: small, wrap: func(c net.Conn) net.Conn { return throttle{c, rate, &open} }}
	}
	stuck := by(1)
	slow := by(4 << 10)
	s := begin(t, n, stuck.reader(n, "dave"), slow.reader(n, "erin"))
	open.Store(false)
	// This is more than a stream's queue and all buffers hold. The server remembers all of it, so more would
	// need more memory than leavesNothing allows.
	for i := range 300 {
		content := fmt.Sprint("large ", i, strings.Repeat("x", 12<<10))
		status, err := s.l.Post(n.Base(), s.l.Channels[0], content)
		if status != http.StatusCreated || err != nil {
			t.Fatalf("got %d and %v for a post, want 201", status, err)
		}
	}
	s.l.StopWriting()
	s.holds()
	guildtest.Eventually(t, "the server cuts the client that reads almost nothing", 2*guildtest.Patience,
		func() bool { return !stuck.held(n) })
	if !slow.held(n) {
		t.Error("the stream of the client that reads 40 KB a second ended, want it to continue")
	}
	open.Store(true)
	s.end()
}

// A client's connection breaks a hundred times, at random moments.
func TestClientDrops(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"auto", "r3labs"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			n := onDatabase(t, "-transport", transport)
			var drops *guildtest.Reader
			s := begin(t, n, func(l *guildtest.Load) *guildtest.Reader {
				drops = l.ListenBriefly("dave", n.Base, 150*time.Millisecond)
				return drops
			})
			drops.Await("a hundred drops", func(got guildtest.Record) bool { return got.Ends >= 100 })
			s.end()
		})
	}
}

// A little that a client sends on its stream is ignored. Too much ends the stream, and the client resumes.
func TestClientSendsGarbage(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"auto", "r3labs"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			n, d := onDatabase(t, "-transport", transport), &dialler{}
			var dave *guildtest.Reader
			s := begin(t, n, func(l *guildtest.Load) *guildtest.Reader {
				dave = d.reader(n, "dave")(l)
				return dave
			})
			send := func(garbage io.Reader) {
				// What does not fit is the system's to hold back, and does not matter here.
				_ = d.conn().SetWriteDeadline(time.Now().Add(time.Second))
				_, _ = io.Copy(d.conn(), garbage)
				s.l.AwaitMore(20, guildtest.Recovery)
			}
			send(strings.NewReader("\r\n\r\n\x00\xff"))
			send(strings.NewReader(strings.Repeat("GET /api/me HTTP/1.1\r\nHost: localhost\r\n\r\n", 50)))
			send(strings.NewReader("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
			s.holds()
			send(io.LimitReader(rand.Reader, 1<<20))
			if transport == "auto" {
				dave.Await("the end of the stream", func(got guildtest.Record) bool { return got.Ends > 0 })
			}
			s.end()
		})
	}
}

// Clients open 2,000 streams and close them in all possible ways.
func TestClientsComeAndGo(t *testing.T) {
	t.Parallel()
	const streams, users, atOnce = 2000, 50, 20
	s := begin(t, onDatabase(t))
	var names []string
	for i := range users {
		names = append(names, fmt.Sprint("user", i))
	}
	tokens := s.n.Tokens(names...)
	var next atomic.Int64
	var clients sync.WaitGroup
	for range atOnce {
		clients.Go(func() {
			for i := int(next.Add(1)); i <= streams; i = int(next.Add(1)) {
				if err := comeAndGo(s.n.Addr(), tokens[i%users], i%5); err != nil {
					t.Errorf("stream %d: %v", i, err)
					return
				}
			}
		})
	}
	clients.Wait()
	s.holds()
	s.end()
}

// comeAndGo opens a stream and closes it in one of five ways.
func comeAndGo(addr, token string, way int) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(guildtest.Recovery))
	request := "GET /api/stream HTTP/1.1\r\nHost: " + addr + "\r\nAuthorization: Bearer " + token + "\r\n\r\n"
	if way == 0 {
		request = request[:len(request)-2] // the end of the request never comes
	}
	if _, err := io.WriteString(conn, request); err != nil || way <= 1 {
		return err // the client does not read the answer
	}
	head := make([]byte, len("HTTP/1.1 200 OK"))
	if _, err := io.ReadFull(conn, head); err != nil || string(head) != "HTTP/1.1 200 OK" {
		return fmt.Errorf("got %q and %v, want a stream", head, err)
	}
	switch way {
	case 3:
		return conn.(*net.TCPConn).SetLinger(0) // a reset
	case 4:
		return conn.(*net.TCPConn).CloseWrite() // closes only one direction first
	}
	return nil
}
