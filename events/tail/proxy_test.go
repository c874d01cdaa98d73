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

// A proxy is a bad one: it answers 502, hangs up before it answers, cuts a stream after any byte, with the end
// of the body or with a reset, and lets no connection live for long.
type proxy struct {
	net.Listener
	upstream string
	cuts     atomic.Int32 // streams that were cut in the middle of a frame
	refusals atomic.Int32
}

func newProxy(t *testing.T, upstream string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: l, upstream: upstream}
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
			p.serve(conn.(*net.TCPConn)) // one client, one at a time
		}
	}()
	return p
}

func (p *proxy) serve(client *net.TCPConn) {
	defer func() { _ = client.Close() }()
	_ = client.SetDeadline(time.Now().Add(time.Second))
	request, err := http.ReadRequest(bufio.NewReader(client))
	if err != nil {
		return
	}
	mood := rand.N(10)
	server, err := net.Dial("tcp", p.upstream)
	if err == nil {
		defer func() { _ = server.Close() }()
		_ = server.SetDeadline(time.Now().Add(time.Second))
	}
	switch {
	case mood == 0:
		_ = client.SetLinger(0)
		return
	case mood == 1 || err != nil:
		p.refusals.Add(1)
		_, _ = io.WriteString(client, "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 15\r\n\r\n<p>Bad Gateway.")
		return
	case mood < 6:
		_ = client.SetLinger(0)
	}
	if err := request.Write(server); err != nil {
		return
	}
	p.pass(client, server, rand.N(8<<10))
}

// pass lets so many bytes through. The server's wish for a pause of two seconds is made one of 10 ms.
func (p *proxy) pass(client, server net.Conn, limit int) {
	b := make([]byte, 4<<10)
	var last []byte
	for limit > 0 {
		n, err := server.Read(b[:min(len(b), limit)])
		limit -= n
		if _, e := client.Write(bytes.ReplaceAll(b[:n], []byte("retry: 2000"), []byte("retry: 0010"))); e != nil || err != nil {
			return
		}
		last = append(last[:0], b[max(0, n-2):n]...)
	}
	if !bytes.Equal(last, []byte("\n\n")) {
		p.cuts.Add(1)
	}
}
