package events

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// WriteTimeout is how long a client may take no byte at all before its stream is cut; it may resume.
const WriteTimeout = 30 * time.Second

// gatherBytes is about how much goes out in one write.
const gatherBytes = 64 << 10

// inputBytes is how much a client may send on its open stream: enough for the small body of a GET, or for a request
// that was sent ahead. A stream reads it in pieces of 16 bytes, since it keeps the piece for as long as it lasts;
// the bound keeps that from costing more than a new connection.
const inputBytes = 4 << 10

// raw writes frames straight to a connection that was taken over from net/http, which saves its buffers and
// its goroutines. The body has no length and ends with the connection (RFC 9112 §6.3), so HTTP/1.0 proxies
// read it like everyone else.
type raw struct {
	conn    net.Conn
	dropped [16]byte // watch's
}

// ServeRaw takes over the connection of an HTTP/1 request, answers it, and starts s on it. It returns at
// once; the connection lives as long as the session. With an error nothing has been written, and s has been
// aborted.
func ServeRaw(w http.ResponseWriter, s *Session) error {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		s.Abort()
		return fmt.Errorf("take over the connection: %w", err)
	}
	t := &raw{conn: conn}
	_ = conn.SetDeadline(time.Time{}) // the server's own; the write below tells of any error
	head := make([]byte, 0, 512)
	head = append(head, "HTTP/1.1 200 OK\r\nConnection: close\r\nDate: "...)
	head = time.Now().UTC().AppendFormat(head, http.TimeFormat)
	head = append(head, "\r\n"...)
	for name, values := range w.Header() {
		head = append(head, name+": "+strings.Join(values, ", ")+"\r\n"...)
	}
	head = append(head, "\r\n"...)
	if err := t.write(append(head, s.opts.preamble()...)); err != nil {
		s.Abort()
		_ = conn.Close()
		return nil // the client is gone
	}
	t.run(s)
	return nil
}

// run starts s on the connection, and watches it.
func (t *raw) run(s *Session) {
	if !s.watched() {
		_ = t.conn.Close()
		return
	}
	s.Start(t)
	go t.watch(s)
}

// watch notices that the client hangs up, or that the stream has ended, and closes the connection. What the
// client sends is of no use here; it is read and dropped, for a close with unread bytes would reset the
// connection and take the last frames with it. A client that sends more than inputBytes is cut.
func (t *raw) watch(s *Session) {
	defer s.left()
	defer func() { _ = t.conn.Close() }()
	for read := 0; read <= inputBytes; {
		n, err := t.conn.Read(t.dropped[:])
		if err != nil {
			s.Abort()
			return
		}
		read += n
	}
	s.fail(errFlooded)
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, gatherBytes); return &b }}

// Send writes all that is queued in as few writes as it takes: the price of a delivery is that of a write.
func (t *raw) Send(frames []*Frame) error {
	if len(frames) == 1 {
		return t.write(frames[0].sse)
	}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	b := (*buf)[:0]
	for _, f := range frames {
		if len(b) > 0 && len(b)+len(f.sse) > gatherBytes {
			if err := t.write(b); err != nil {
				return err
			}
			b = b[:0]
		}
		if len(f.sse) > gatherBytes {
			if err := t.write(f.sse); err != nil {
				return err
			}
			continue
		}
		b = append(b, f.sse...)
	}
	if len(b) == 0 {
		return nil
	}
	return t.write(b)
}

// pieceBytes is how much is written under one deadline where a write that was cut off cannot be taken up
// again: a slow reader takes that much in time.
const pieceBytes = 16 << 10

// write gives up when nothing at all was taken for WriteTimeout; a slow reader gets all the time it needs. TLS
// cannot go on after a deadline (crypto/tls, Conn.SetWriteDeadline), so there each piece has to be through.
func (t *raw) write(b []byte) error {
	most := len(b)
	if _, encrypted := t.conn.(*tls.Conn); encrypted {
		most = pieceBytes
	}
	for len(b) > 0 {
		if err := t.conn.SetWriteDeadline(time.Now().Add(WriteTimeout)); err != nil {
			return err
		}
		n, err := t.conn.Write(b[:min(most, len(b))])
		if err != nil && (n == 0 || !errors.Is(err, os.ErrDeadlineExceeded)) {
			return err
		}
		b = b[n:]
	}
	return nil
}

// Name is what metrics call it.
func (t *raw) Name() string { return "raw" }

// Close may block no one, as the last words of TLS can: it cuts off what is being written or read, and whoever
// watches the connection closes it. What the system has not sent yet is still sent.
func (t *raw) Close() { _ = t.conn.SetDeadline(time.Unix(1, 0)) }
