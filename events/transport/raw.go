package transport

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

	"fabric-guild/events"
	"fabric-guild/events/live"
)

// WriteTimeout is how long a client may take no byte at all before its stream is cut off. The client may
// resume.
const WriteTimeout = 30 * time.Second

// gatherBytes is about how many bytes one write has at most.
const gatherBytes = 64 << 10

// inputBytes is how many bytes a client may send on its open stream: enough for the small body of a GET, or
// for a request that was sent ahead. A stream reads them in pieces of 16 bytes, because it holds the buffer
// for as long as it lasts. The bound keeps these small reads from costing more than a new connection.
const inputBytes = 4 << 10

// A raw writes frames directly to a connection that was taken over from net/http. That saves the buffers and
// goroutines of net/http. The body has no length and ends with the connection (RFC 9112 §6.3), so HTTP/1.0
// proxies read it, too.
type raw struct {
	conn    net.Conn
	dropped [16]byte // only watch uses it
}

// ServeRaw takes over the connection of an HTTP/1 request, writes the head of the answer, and starts s on the
// connection. It returns at once; the connection lives as long as the session. If it returns an error, it has
// written nothing, and has aborted s.
func ServeRaw(w http.ResponseWriter, s *live.Session) error {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		s.Abort()
		return fmt.Errorf("take over the connection: %w", err)
	}
	t := &raw{conn: conn}
	// clears the deadline of net/http; if it fails, the write below fails too
	_ = conn.SetDeadline(time.Time{})
	head := Head(http.StatusOK, w.Header())
	if err := t.write(append(head, s.Format().Preamble()...)); err != nil {
		s.Abort()
		_ = conn.Close()
		return nil // the client is gone
	}
	t.run(s)
	return nil
}

// Head returns the head of the last answer on an HTTP/1 connection that was taken over.
func Head(status int, header http.Header) []byte {
	head := make([]byte, 0, 512)
	head = fmt.Appendf(head, "HTTP/1.1 %d %s\r\nConnection: close\r\nDate: ", status, http.StatusText(status))
	head = time.Now().UTC().AppendFormat(head, http.TimeFormat)
	head = append(head, "\r\n"...)
	for name, values := range header {
		head = append(head, name+": "+strings.Join(values, ", ")+"\r\n"...)
	}
	return append(head, "\r\n"...)
}

// ServeConn starts s on a connection on which the head of the answer has been written. It returns at once. It
// closes the connection when the session has ended.
func ServeConn(conn net.Conn, s *live.Session) { (&raw{conn: conn}).run(s) }

// run starts s on the connection, and watches it.
func (t *raw) run(s *live.Session) {
	if !s.Hold() {
		_ = t.conn.Close()
		return
	}
	s.Start(t)
	go t.watch(s)
}

// watch blocks until the client hangs up or the stream has ended, and closes the connection. It reads and
// drops what the client sends: a close with unread bytes would reset the connection, and lose the last
// frames. A client that sends more than inputBytes is cut off.
func (t *raw) watch(s *live.Session) {
	defer s.Release()
	defer func() { _ = t.conn.Close() }()
	for read := 0; read <= inputBytes; {
		n, err := t.conn.Read(t.dropped[:])
		if err != nil {
			s.Abort()
			return
		}
		read += n
	}
	s.Fail(live.ErrFlooded)
}

// buffers has the buffers of writes of several frames.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, gatherBytes); return &b }}

// Send writes the frames in as few writes as possible, because most of a delivery's cost is the write.
func (t *raw) Send(frames []*events.Frame) error {
	if len(frames) == 1 {
		return t.write(frames[0].SSE())
	}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	b := (*buf)[:0]
	for _, f := range frames {
		text := f.SSE()
		if len(b) > 0 && len(b)+len(text) > gatherBytes {
			if err := t.write(b); err != nil {
				return err
			}
			b = b[:0]
		}
		if len(text) > gatherBytes {
			if err := t.write(text); err != nil {
				return err
			}
			continue
		}
		b = append(b, text...)
	}
	if len(b) == 0 {
		return nil
	}
	return t.write(b)
}

// pieceBytes is how much is written under one deadline where a write cannot continue after its deadline. A
// slow reader takes that much in time.
const pieceBytes = 16 << 10

// write blocks until b is written. It fails if the client takes nothing at all for WriteTimeout; a slow
// reader gets all the time that it needs. TLS cannot continue after a deadline (crypto/tls,
// Conn.SetWriteDeadline), so over TLS each piece must be written within one deadline.
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

// Name returns the transport's name in metrics.
func (t *raw) Name() string { return "raw" }

// Close interrupts the write and the read that are in progress; then watch closes the connection. It must not
// block, as closing a TLS connection can. The system still sends what it has accepted.
func (t *raw) Close() { _ = t.conn.SetDeadline(time.Unix(1, 0)) }
