package handlers_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"fabric-guild/events/ssetest"
)

// A frame is what stands between two blank lines.
type frame struct {
	event, data, id string
	comment, retry  string
	raw             string
}

// readFrame is ssetest.ReadFrame, and holds the frame against the contract.
func readFrame(in *bufio.Reader) (frame, error) {
	got, err := ssetest.ReadFrame(in)
	f := frame{event: got.Event, data: got.Data, id: got.ID, comment: got.Comment, retry: got.Retry, raw: got.Raw}
	if err != nil {
		return f, err
	}
	return f, holdFrame(f)
}

// A line is a client's way to a node: for one stream, or for several over one HTTP/2 connection.
type line struct {
	http.Transport
	mu    sync.Mutex
	conns []net.Conn
}

// newLine returns one whose connections have a receive buffer of so many bytes; 0: the system's.
func newLine(over transport, receiveBuffer int) *line {
	l := &line{}
	l.DisableCompression, l.TLSClientConfig = true, trusting()
	l.Protocols = new(http.Protocols)
	l.Protocols.SetHTTP1(!over.h2c && !over.h2)
	l.Protocols.SetHTTP2(over.h2)
	l.Protocols.SetUnencryptedHTTP2(over.h2c)
	if receiveBuffer > 0 {
		l.HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10, MaxReceiveBufferPerConnection: 64 << 10}
	}
	l.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err == nil && receiveBuffer > 0 {
			err = conn.(*net.TCPConn).SetReadBuffer(receiveBuffer)
		}
		if err != nil {
			return nil, err
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.conns = append(l.conns, conn)
		return conn, nil
	}
	return l
}

// hangUp closes the connections with all that is on them.
func (l *line) hangUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, conn := range l.conns {
		_ = conn.Close()
	}
}

// A stream is an open connection to GET /api/stream.
type stream struct {
	resp   *http.Response
	in     *bufio.Reader
	cancel context.CancelFunc
	line   *line // to hang up at the end; nil: others are on it
}

// dial asks for a stream, whatever the answer. headers are names and values by turns.
func (u *user) dial(l *line, query string, headers ...string) (*stream, error) {
	ctx, cancel := context.WithCancel(u.n.t.Context())
	r, err := http.NewRequestWithContext(ctx, "GET", u.n.url+"/api/stream"+query, nil)
	if err != nil {
		cancel()
		return nil, err
	}
	if u.token != "" {
		r.Header.Set("Authorization", "Bearer "+u.token)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header[http.CanonicalHeaderKey(headers[i])] = []string{headers[i+1]}
	}
	late := time.AfterFunc(patience, cancel)
	defer late.Stop()
	resp, err := l.RoundTrip(r)
	if err != nil {
		cancel()
		return nil, err
	}
	return &stream{resp: resp, in: bufio.NewReader(resp.Body), cancel: cancel}, nil
}

// ask is dial on a line of its own.
func (u *user) ask(over transport, query string, headers ...string) (*stream, error) {
	l := newLine(over, 0)
	s, err := u.dial(l, query, headers...)
	if err != nil {
		l.hangUp()
		return nil, err
	}
	s.line = l
	return s, nil
}

// connect opens a stream and reads its preamble.
func (u *user) connect(over transport, query string, headers ...string) (*stream, error) {
	s, err := u.ask(over, query, headers...)
	if err != nil {
		return nil, err
	}
	return s, s.begin()
}

func (s *stream) begin() error {
	if s.resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(s.resp.Body)
		s.close()
		return fmt.Errorf("got status %d, want 200: %s", s.resp.StatusCode, b)
	}
	late := time.AfterFunc(patience, s.cancel)
	defer late.Stop()
	f, err := readFrame(s.in)
	if want := ": ok\nretry: 2000\n\n"; err == nil && f.raw != want {
		err = fmt.Errorf("got %q, want %q", f.raw, want)
	}
	if err != nil {
		s.close()
		return fmt.Errorf("the first bytes of a stream: %w", err)
	}
	return nil
}

// open is connect for a test that goes on only with it, and closes it at the test's end. What has been
// committed before it is behind the node.
func (u *user) open(t *testing.T, over transport, query string, headers ...string) *stream {
	t.Helper()
	u.n.settle(t)
	s, err := u.connect(over, query, headers...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

// fresh opens a stream and reads its stream.ready.
func (u *user) fresh(t *testing.T, over transport, query string) (*stream, readyData) {
	t.Helper()
	s := u.open(t, over, query)
	return s, data[readyData](t, s.next(t), "stream.ready")
}

// resume opens a stream that goes on from a cursor and reads its stream.ready.
func (u *user) resume(t *testing.T, over transport, query, cursor string) *stream {
	t.Helper()
	s := u.open(t, over, query, "Last-Event-ID", cursor)
	if r := data[readyData](t, s.next(t), "stream.ready"); !r.Resumed || r.Cursor != cursor {
		t.Fatalf("got %+v, want one that is resumed at %s", r, cursor)
	}
	return s
}

// read reads the next event. Comments, such as heartbeats, do not prolong its time.
func (s *stream) read() (frame, error) {
	late := time.AfterFunc(patience, s.cancel)
	defer late.Stop()
	for {
		if f, err := readFrame(s.in); err != nil || f.event != "" {
			return f, err
		}
	}
}

func (s *stream) next(t *testing.T) frame {
	t.Helper()
	f, err := s.read()
	if err != nil {
		t.Fatal("the next frame:", err)
	}
	return f
}

// until reads up to the event with an id, and returns what came, without stream.*.
func (s *stream) until(t *testing.T, id string) (got []frame) {
	t.Helper()
	for {
		f := s.next(t)
		if strings.HasPrefix(f.event, "stream.") {
			continue
		}
		got = append(got, f)
		if f.id == id {
			return got
		}
		if seq(f.id) > seq(id) {
			t.Fatalf("got %s, and %s has not come before it", f.raw, id)
		}
	}
}

// ended reads what is left of a stream that the server closes.
func (s *stream) ended(t *testing.T) (got []frame) {
	t.Helper()
	for {
		f, err := s.read()
		if errors.Is(err, io.EOF) {
			return got
		}
		if err != nil {
			t.Fatal("the end of the stream:", err)
		}
		got = append(got, f)
	}
}

func (s *stream) close() {
	s.cancel()
	_ = s.resp.Body.Close()
	if s.line != nil {
		s.line.hangUp()
	}
}

// data decodes a frame's data, whose event must be the one named.
func data[T any](t *testing.T, f frame, event string) (v T) {
	t.Helper()
	if f.event != event {
		t.Fatalf("got %s, want %s", f.raw, event)
	}
	if err := strictly([]byte(f.data), &v); err != nil {
		t.Fatalf("%v: %s", err, f.raw)
	}
	return v
}

// contents are those of the messages among frames.
func contents(t *testing.T, frames []frame) []string {
	t.Helper()
	got := []string{}
	for _, f := range frames {
		if f.event == "message.created" {
			got = append(got, data[heard](t, f, f.event).Content)
		}
	}
	return got
}

// kinds are the events' names.
func kinds(frames []frame) []string {
	got := []string{}
	for _, f := range frames {
		got = append(got, f.event)
	}
	return got
}
