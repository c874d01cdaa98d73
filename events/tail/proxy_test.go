package tail_test

import (
	"bufio"
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

// A proxy harms most connections. It answers 502, closes a connection before the answer, or cuts a stream
// after any byte, with a normal end of the body or with a reset. It closes every connection after its life.
// The life is a second, and doubles on a machine that is too slow to use it.
type proxy struct {
	net.Listener
	upstream string
	life     time.Duration
	cuts     atomic.Int32 // streams that were cut in the middle of a frame
	refusals atomic.Int32 // answers 502
}

func newProxy(t *testing.T, upstream string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: l, upstream: upstream, life: time.Second}
	done := make(chan struct{})
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			p.serve(conn.(*net.TCPConn)) // the one client opens one connection at a time
		}
	}()
	return p
}

// serve handles one connection and blocks until it ends.
func (p *proxy) serve(client *net.TCPConn) {
	defer func() { _ = client.Close() }()
	_ = client.SetDeadline(time.Now().Add(p.life))
	request, err := http.ReadRequest(bufio.NewReader(client))
	if err != nil {
		p.life *= 2
		return
	}
	mood := rand.N(10)
	server, err := net.Dial("tcp", p.upstream)
	if err == nil {
		defer func() { _ = server.Close() }()
		_ = server.SetDeadline(time.Now().Add(p.life))
	}
	switch {
	case mood == 0:
		_ = client.SetLinger(0)
		return
	case mood == 1 || err != nil:
		p.refusals.Add(1)
		_, _ = io.WriteString(client, "HTTP/1.1 502 Bad Gateway\r\n"+
			"Content-Type: text/html\r\nContent-Length: 15\r\n\r\n<p>Bad Gateway.")
		return
	case mood < 6:
		_ = client.SetLinger(0)
	}
	if err := request.Write(server); err != nil {
		return
	}
	p.pass(client, server, rand.N(8<<10))
}

// pass passes at most limit bytes to the client. It changes the server's retry time from two seconds to 10
// ms, so that the test is fast.
func (p *proxy) pass(client, server net.Conn, limit int) {
	b := make([]byte, 4<<10)
	var last []byte
	for limit > 0 {
		n, err := server.Read(b[:min(len(b), limit)])
		if n == 0 && last == nil {
			p.life *= 2
		}
		limit -= n
		faster := bytes.ReplaceAll(b[:n], []byte("retry: 2000"), []byte("retry: 0010"))
		if _, e := client.Write(faster); e != nil || err != nil {
			return
		}
		last = append(last[:0], b[max(0, n-2):n]...)
	}
	if !bytes.Equal(last, []byte("\n\n")) {
		p.cuts.Add(1)
	}
}
