package events

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
)

// R3labs serves streams by r3labs/sse's Server, for connections that cannot be taken over (HTTP/2). Its
// Server fans out to the subscribers of a stream and blocks on the slowest; here every connection is a
// stream of its own with one subscriber, and at most one batch is under way in it.
type R3labs struct{ server *sse.Server }

// NewR3labs returns a server without streams.
func NewR3labs() *R3labs {
	server := sse.New()
	server.AutoReplay = false // it would number the events anew; the log is ours
	server.BufferSize = batchFrames
	return &R3labs{server}
}

// batchFrames is how many frames are handed over before the first is awaited: less than the 64 slots of a
// subscriber, so that its Server never blocks.
const batchFrames = 32

// Serve answers the request and serves s until the stream or the request ends.
func (x *R3labs) Serve(w http.ResponseWriter, r *http.Request, s *Session) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	t := &viaR3labs{
		opts: &s.opts, server: x.server, stream: uuid.NewString(), ctx: ctx, cancel: cancel,
		w: w, ctl: http.NewResponseController(w), written: make(chan error, 1),
	}
	t.ready = func() { s.Start(t) }
	x.server.CreateStream(t.stream)
	// Its handler takes the stream's name from the URL and insists on a numeric Last-Event-ID: the
	// client's own must not reach it.
	sub := (&http.Request{Method: http.MethodGet, URL: &url.URL{RawQuery: "stream=" + t.stream}}).WithContext(ctx)
	x.server.ServeHTTP(t, sub)
	t.leave()
	x.server.RemoveStream(t.stream) // before its subscriber is gone this would leak a goroutine
	s.Abort()
}

// viaR3labs is both ends: the Transport that the session sends to, and the ResponseWriter that r3labs'
// handler writes to. Between them the frames go through r3labs' Server.
type viaR3labs struct {
	opts   *Options // of the session: Lines and what opens the stream
	server *sse.Server
	stream string
	ctx    context.Context // of the request
	cancel context.CancelFunc
	ready  func()

	w       http.ResponseWriter
	ctl     *http.ResponseController
	id      []byte // of the frame that is being written
	buf     []byte // the batch so far
	frame   int    // where in buf the frame begins that is being written
	waiting int    // frames of the batch that are still to come
	written chan error

	mu      sync.Mutex // guards the deadline
	writing bool       // under one
	closed  bool
}

var errStreamGone = errors.New("the stream is gone")

// Send hands the frames to r3labs in batches, and waits until each has been written.
func (t *viaR3labs) Send(frames []*Frame) error {
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

// Close ends r3labs' handler, and with it the request, also where that is stuck in a write.
func (t *viaR3labs) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.cancel()
	if t.writing { // otherwise it would cut off the end of the body, which is still to be written
		_ = t.ctl.SetWriteDeadline(time.Now()) // of a connection that may be gone
	}
}

// Name is what metrics call it.
func (t *viaR3labs) Name() string { return "r3labs" }

// leave notes that the handler is through: the connection is not ours any more.
func (t *viaR3labs) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed, t.writing = true, false
}

// deadline sets or, with the zero time, clears the deadline of writes; not any more once it is closed.
func (t *viaR3labs) deadline(at time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed && !at.IsZero() {
		return errStreamGone
	}
	t.writing = !at.IsZero()
	return t.ctl.SetWriteDeadline(at)
}

// Header is what r3labs overwrites as it likes: ours are set by then.
func (t *viaR3labs) Header() http.Header { return http.Header{} }

// WriteHeader is called when r3labs has registered its subscriber: from here on frames reach it.
func (t *viaR3labs) WriteHeader(status int) {
	t.w.WriteHeader(status)
	if status != http.StatusOK {
		t.cancel()
		return
	}
	t.buf = append(t.buf, t.opts.preamble()...)
	if t.flush() != nil {
		t.cancel()
		return
	}
	t.ready()
}

// Write takes one line of a frame. r3labs writes id, data, event, and the id also where there is none; here
// it goes last, or not at all.
func (t *viaR3labs) Write(line []byte) (int, error) {
	if t.opts.Lines { // r3labs has no JSON lines: to it each is a comment
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
	case len(line) == 1: // the frame ends
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

// Flush is called after each frame; the last of a batch writes them all.
func (t *viaR3labs) Flush() {
	if len(t.buf) == 0 {
		return // after the head
	}
	if t.waiting--; t.waiting > 0 {
		return
	}
	t.written <- t.flush()
}

// flush writes under deadlines, and clears the last: on HTTP/2 one that is left set resets an idle stream.
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
	t.buf, t.frame = t.buf[:0], 0
	if err != nil {
		return err
	}
	return t.deadline(time.Time{})
}
