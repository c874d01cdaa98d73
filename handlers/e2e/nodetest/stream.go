package nodetest

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

// readFrame reads a frame and checks it against the contract.
func readFrame(in *bufio.Reader) (ssetest.Frame, error) {
	f, err := ssetest.ReadFrame(in)
	if err != nil {
		return f, err
	}
	return f, holdFrame(f)
}

// A Line has the client's connections to a node: one for each stream, or one HTTP/2 connection for several.
type Line struct {
	http.Transport
	mu    sync.Mutex
	conns []net.Conn
}

// NewLine returns a Line. Its connections have a receive buffer of receiveBuffer bytes; 0: of the system's
// size.
func NewLine(over Transport, receiveBuffer int) *Line {
	l := &Line{}
	l.DisableCompression, l.TLSClientConfig = true, Trusting()
	l.Protocols = new(http.Protocols)
	l.Protocols.SetHTTP1(!over.H2c && !over.H2)
	l.Protocols.SetHTTP2(over.H2)
	l.Protocols.SetUnencryptedHTTP2(over.H2c)
	if receiveBuffer > 0 {
		l.HTTP2 = &http.HTTP2Config{
			MaxReceiveBufferPerStream:     64 << 10,
			MaxReceiveBufferPerConnection: 64 << 10,
		}
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

// HangUp closes all connections.
func (l *Line) HangUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, conn := range l.conns {
		_ = conn.Close()
	}
}

// A Stream is the answer to GET /api/stream while it is read.
type Stream struct {
	Resp   *http.Response
	In     *bufio.Reader
	Cancel context.CancelFunc
	Line   *Line // to hang up at the end; nil: others are on it
}

// Dial requests a stream over l, and returns any answer. headers has alternating names and values.
func (u *User) Dial(l *Line, query string, headers ...string) (*Stream, error) {
	ctx, cancel := context.WithCancel(u.Node.T.Context())
	r, err := http.NewRequestWithContext(ctx, "GET", u.Node.URL+"/api/stream"+query, nil)
	if err != nil {
		cancel()
		return nil, err
	}
	if u.Token != "" {
		r.Header.Set("Authorization", "Bearer "+u.Token)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header[http.CanonicalHeaderKey(headers[i])] = []string{headers[i+1]}
	}
	late := time.AfterFunc(ssetest.Patience, cancel)
	defer late.Stop()
	resp, err := l.RoundTrip(r)
	if err != nil {
		cancel()
		return nil, err
	}
	return &Stream{Resp: resp, In: bufio.NewReader(resp.Body), Cancel: cancel}, nil
}

// Ask is like Dial, over a Line of its own.
func (u *User) Ask(over Transport, query string, headers ...string) (*Stream, error) {
	l := NewLine(over, 0)
	s, err := u.Dial(l, query, headers...)
	if err != nil {
		l.HangUp()
		return nil, err
	}
	s.Line = l
	return s, nil
}

// Connect opens a stream and reads its first bytes, before the events.
func (u *User) Connect(over Transport, query string, headers ...string) (*Stream, error) {
	s, err := u.Ask(over, query, headers...)
	if err != nil {
		return nil, err
	}
	return s, s.Begin()
}

// Begin reads the first bytes of a stream. If they are wrong, Begin closes the stream.
func (s *Stream) Begin() error {
	if s.Resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(s.Resp.Body)
		s.Close()
		return fmt.Errorf("got status %d, want 200: %s", s.Resp.StatusCode, b)
	}
	late := time.AfterFunc(ssetest.Patience, s.Cancel)
	defer late.Stop()
	f, err := readFrame(s.In)
	if want := ": ok\nretry: 2000\n\n"; err == nil && f.Raw != want {
		err = fmt.Errorf("got %q, want %q", f.Raw, want)
	}
	if err != nil {
		s.Close()
		return fmt.Errorf("the first bytes of a stream: %w", err)
	}
	return nil
}

// Open is like Connect, but an error ends the test. The stream is closed at the end of the test. The node has
// read all events that were committed before Open.
func (u *User) Open(t *testing.T, over Transport, query string, headers ...string) *Stream {
	t.Helper()
	u.Node.Settle(t)
	s, err := u.Connect(over, query, headers...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// Fresh opens a stream and reads its stream.ready.
func (u *User) Fresh(t *testing.T, over Transport, query string) (*Stream, ReadyData) {
	t.Helper()
	s := u.Open(t, over, query)
	return s, Data[ReadyData](t, s.Next(t), "stream.ready")
}

// Resume opens a stream that resumes at a cursor, and reads its stream.ready.
func (u *User) Resume(t *testing.T, over Transport, query, cursor string) *Stream {
	t.Helper()
	s := u.Open(t, over, query, "Last-Event-ID", cursor)
	if r := Data[ReadyData](t, s.Next(t), "stream.ready"); !r.Resumed || r.Cursor != cursor {
		t.Fatalf("got %+v, want one that is resumed at %s", r, cursor)
	}
	return s
}

// Read returns the next event, within Patience in all. It skips comments, such as heartbeats.
func (s *Stream) Read() (ssetest.Frame, error) {
	late := time.AfterFunc(ssetest.Patience, s.Cancel)
	defer late.Stop()
	for {
		if f, err := readFrame(s.In); err != nil || f.Event != "" {
			return f, err
		}
	}
}

// Next is like Read, but an error ends the test.
func (s *Stream) Next(t *testing.T) ssetest.Frame {
	t.Helper()
	f, err := s.Read()
	if err != nil {
		t.Fatal("the next frame:", err)
	}
	return f
}

// NextEvent is Next without frames named stream.*: a stream.cursor can come between any two events.
func (s *Stream) NextEvent(t *testing.T) ssetest.Frame {
	t.Helper()
	for {
		if f := s.Next(t); !strings.HasPrefix(f.Event, "stream.") {
			return f
		}
	}
}

// Until reads up to the event with this id. It returns the events, without those named stream.*.
func (s *Stream) Until(t *testing.T, id string) (got []ssetest.Frame) {
	t.Helper()
	for {
		f := s.NextEvent(t)
		got = append(got, f)
		if f.ID == id {
			return got
		}
		if Seq(f.ID) > Seq(id) {
			t.Fatalf("got %s, and %s has not come before it", f.Raw, id)
		}
	}
}

// Ended reads to the end of a stream that the server closes, and returns the events.
func (s *Stream) Ended(t *testing.T) (got []ssetest.Frame) {
	t.Helper()
	for {
		f, err := s.Read()
		if errors.Is(err, io.EOF) {
			return got
		}
		if err != nil {
			t.Fatal("the end of the stream:", err)
		}
		got = append(got, f)
	}
}

// Close ends the stream. It also closes the Line if nothing else uses it.
func (s *Stream) Close() {
	s.Cancel()
	_ = s.Resp.Body.Close()
	if s.Line != nil {
		s.Line.HangUp()
	}
}

// Data decodes the data of a frame. The frame must have this event.
func Data[T any](t *testing.T, f ssetest.Frame, event string) (v T) {
	t.Helper()
	if f.Event != event {
		t.Fatalf("got %s, want %s", f.Raw, event)
	}
	if err := Strictly([]byte(f.Data), &v); err != nil {
		t.Fatalf("%v: %s", err, f.Raw)
	}
	return v
}

// Contents returns the contents of the messages among frames.
func Contents(t *testing.T, frames []ssetest.Frame) []string {
	t.Helper()
	got := []string{}
	for _, f := range frames {
		if f.Event == "message.created" {
			got = append(got, Data[Heard](t, f, f.Event).Content)
		}
	}
	return got
}

// Kinds returns the event of each frame.
func Kinds(frames []ssetest.Frame) []string {
	got := []string{}
	for _, f := range frames {
		got = append(got, f.Event)
	}
	return got
}

// Signal returns the data of the next frame, but skips comments, stream.cursor and member.left. The frame
// must be this signal, without an id.
func (s *Stream) Signal(t *testing.T, event string) (data string) {
	t.Helper()
	for {
		f := s.Next(t)
		if f.Event == "" || f.Event == "stream.cursor" || f.Event == "member.left" {
			continue
		}
		if f.Event != event || f.ID != "" {
			t.Fatalf("got %v, want %s without an id", f, event)
		}
		return f.Data
	}
}

// IDs returns the id of each frame.
func IDs(frames []ssetest.Frame) []string {
	got := []string{}
	for _, f := range frames {
		got = append(got, f.ID)
	}
	return got
}

// Answer returns the answer to a request for a stream that was refused.
func (s *Stream) Answer(t *testing.T) Answer {
	t.Helper()
	if s.Resp.StatusCode == http.StatusOK {
		return Answer{Status: http.StatusOK} // which has no end
	}
	b, err := io.ReadAll(s.Resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return Answer{s.Resp.StatusCode, s.Resp.Header, b}
}
