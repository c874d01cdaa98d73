package transport

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/r3labs/sse/v2"

	"fabric-guild/events"
	"fabric-guild/events/live"
)

// R3labs serves streams with r3labs/sse's Server, for connections that cannot be taken over (HTTP/2). That
// Server fans out to the subscribers of a stream and blocks on the slowest. Here every connection is a stream
// of its own with one subscriber, and it has at most one batch in progress.
type R3labs struct{ server *sse.Server }

// NewR3labs returns a server without streams.
func NewR3labs() *R3labs {
	server := sse.New()
	server.AutoReplay = false // it would give the events new numbers; the event log replays them here
	server.BufferSize = batchFrames
	return &R3labs{server}
}

// batchFrames is how many frames Send publishes before it waits for them. It is less than the 64 slots of a
// subscriber, so that r3labs' Server never blocks.
const batchFrames = 32

// Serve answers the request and serves s. It blocks until the stream or the request ends.
func (x *R3labs) Serve(w http.ResponseWriter, r *http.Request, s *live.Session) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	t := &viaR3labs{
		format: s.Format(), server: x.server, stream: uuid.NewString(), ctx: ctx, cancel: cancel,
		w: w, ctl: http.NewResponseController(w), written: make(chan error, 1),
	}
	t.ready = func() { s.Start(t) }
	x.server.CreateStream(t.stream)
	// r3labs' handler takes the stream's name from the URL, and accepts only a number as Last-Event-ID. So it
	// must not see the client's request.
	sub := (&http.Request{
		Method: http.MethodGet,
		URL:    &url.URL{RawQuery: "stream=" + t.stream},
	}).WithContext(ctx)
	x.server.ServeHTTP(t, sub)
	t.leave()
	x.server.RemoveStream(t.stream) // not earlier: while there is a subscriber, this leaks a goroutine
	s.Abort()
}

// A viaR3labs is both ends of r3labs' Server: the Transport to which the session sends, and the
// ResponseWriter to which r3labs' handler writes.
type viaR3labs struct {
	format events.Format
	server *sse.Server
	stream string
	ctx    context.Context // the request's
	cancel context.CancelFunc
	ready  func() // starts the session

	w       http.ResponseWriter
	ctl     *http.ResponseController
	id      []byte // the id line of the current frame
	buf     []byte // the batch so far
	frame   int    // the index in buf where the current frame begins
	waiting int    // the number of frames of the batch that have not come yet
	written chan error

	mu sync.Mutex
	// mu guards these, and the write deadline.
	writing bool // a deadline is set
	closed  bool
}

var errStreamGone = errors.New("the stream is gone")

// Send publishes the frames to r3labs in batches. It blocks until each batch is written.
func (t *viaR3labs) Send(frames []*events.Frame) error {
	for len(frames) > 0 {
		batch := frames[:min(batchFrames, len(frames))]
		frames = frames[len(batch):]
		t.waiting = len(batch)
		for _, f := range batch {
			e := &sse.Event{ID: []byte(f.ID), Event: []byte(f.Event), Data: f.Data}
			if f.Event == "" {
				e = &sse.Event{Comment: f.Data}
			}
			if !t.server.TryPublish(t.stream, e) {
				return errStreamGone
			}
		}
		select {
		case err := <-t.written:
			if err != nil {
				return err
			}
		case <-t.ctx.Done():
			return t.ctx.Err()
		}
	}
	return nil
}

// Close ends r3labs' handler, and so the request, even if the handler is blocked in a write.
func (t *viaR3labs) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.cancel()
	if t.writing { // otherwise the deadline would cut off the end of the body, which is not written yet
		_ = t.ctl.SetWriteDeadline(time.Now()) // it fails if the connection is gone
	}
}

// Name returns the transport's name in metrics.
func (t *viaR3labs) Name() string { return "r3labs" }

// leave notes that the handler has returned: from here on the connection belongs to net/http.
func (t *viaR3labs) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.writing = false
}

// deadline sets the deadline of writes, or clears it with the zero time. It sets none after Close, and
// returns an error then.
func (t *viaR3labs) deadline(at time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed && !at.IsZero() {
		return errStreamGone
	}
	t.writing = !at.IsZero()
	return t.ctl.SetWriteDeadline(at)
}

// Header returns headers that are thrown away: r3labs overwrites some, and the caller of Serve has set the
// real ones.
func (t *viaR3labs) Header() http.Header { return http.Header{} }

// WriteHeader starts the session. r3labs calls it when it has registered its subscriber: from then on frames
// reach it.
func (t *viaR3labs) WriteHeader(status int) {
	t.w.WriteHeader(status)
	if status != http.StatusOK {
		t.cancel()
		return
	}
	t.buf = append(t.buf, t.format.Preamble()...)
	if t.flush() != nil {
		t.cancel()
		return
	}
	t.ready()
}

// Write takes one line of a frame. r3labs writes the lines id, data, event, and an id line even for an empty
// id. Write moves the id to the end, and leaves an empty one out.
func (t *viaR3labs) Write(line []byte) (int, error) {
	if t.format.Lines { // r3labs knows no JSON lines: each line is a comment for it
		if text, ok := bytes.CutPrefix(line, []byte(": ")); ok {
			t.buf = append(t.buf, text...)
		}
		return len(line), nil
	}
	switch {
	case bytes.HasPrefix(line, []byte("id: ")):
		t.id = append(t.id[:0], line...)
	case bytes.HasPrefix(line, []byte("event: ")):
		t.buf = slices.Insert(t.buf, t.frame, line...)
	case len(line) == 1: // the end of the frame
		if len(t.id) > len("id: \n") {
			t.buf = append(t.buf, t.id...)
		}
		t.id = t.id[:0]
		t.buf = append(t.buf, '\n')
		t.frame = len(t.buf)
	default:
		t.buf = append(t.buf, line...)
	}
	return len(line), nil
}

// Flush writes the batch at its last frame. r3labs calls it after the head, and after each frame.
func (t *viaR3labs) Flush() {
	if len(t.buf) == 0 {
		return // after the head
	}
	t.waiting--
	if t.waiting > 0 {
		return
	}
	t.written <- t.flush()
}

// flush writes buf under deadlines, and clears the last one: on HTTP/2 a deadline that stays set resets an
// idle stream.
func (t *viaR3labs) flush() (err error) {
	for piece := range slices.Chunk(t.buf, pieceBytes) {
		if err = t.deadline(time.Now().Add(WriteTimeout)); err != nil {
			break
		}
		if _, err = t.w.Write(piece); err != nil {
			break
		}
		if err = t.ctl.Flush(); err != nil {
			break
		}
	}
	t.buf = t.buf[:0]
	t.frame = 0
	if err != nil {
		return err
	}
	return t.deadline(time.Time{})
}
