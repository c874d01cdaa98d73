package live

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"fabric-guild/events"
)

// pollGrace is how much longer than its wait a poll may take to get through its backlog.
const pollGrace = 5 * time.Second

// ErrUnread says that the event log could not be read in time. Nothing is lost: the client must ask again
// with the same cursor.
var ErrUnread = errors.New("the event log could not be read in time")

// Polled is the answer to a long poll.
type Polled struct {
	// Frames are the frames that a stream would have shown. Of the frames about the stream itself, there are
	// only those with a snapshot.
	Frames []*events.Frame
	Cursor string // the position where the next poll continues
	Reset  string // why the client's cursor cannot be continued: one of events.ResetReasons, or empty
}

// Poll opens a stream that ends with its first events: at most limit of them. It blocks until there are
// events, until wait has passed, or until the stream is closed. A poll that begins with a snapshot ends with
// it. When Poll returns, the stream no longer counts as one of its user. The errors are ErrUnread, and those
// of Open and of ctx.
func (r *Router) Poll(ctx context.Context, opts Options, limit int, wait time.Duration) (Polled, error) {
	over := make(chan struct{})
	opts.Marks = true
	opts.Ended = func() { close(over) }
	s, err := r.Open(ctx, opts)
	if err != nil {
		return Polled{}, err
	}
	g := &gathering{limit: limit, resumed: s.opts.Resume != nil}
	if g.resumed {
		g.cursor = opts.Resume.String()
		g.seq = opts.Resume.Seq
	}
	s.Start(g)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-over:
			if !g.began {
				return Polled{}, r.unbegun()
			}
			return Polled{g.frames, g.cursor, s.reset}, nil
		case <-timer.C:
			if g.late.Swap(true) {
				s.Close(events.EndedLate, true)
			} else {
				s.mark()
				timer.Reset(pollGrace)
			}
		case <-ctx.Done():
			s.Abort()
			<-over
			return Polled{}, ctx.Err()
		}
	}
}

// unbegun returns why a poll was closed before it had a position to answer with.
func (r *Router) unbegun() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return ErrClosed
	}
	return ErrUnread
}

// mark queues the position of a live stream, after all that is queued.
func (s *Session) mark() {
	s.router.mu.Lock()
	defer s.router.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase == live && s.bye == nil {
		s.enqueueLocked(events.CursorFrame(s.router.at))
	}
}

// A gathering is the transport of a poll. It keeps the frames until there are enough. Until the session is
// over, only the session's worker uses the fields, except late.
type gathering struct {
	limit   int
	resumed bool
	late    atomic.Bool // the poll has lasted for its wait

	began  bool // there is a position to continue from
	live   bool // the backlog is complete
	frames []*events.Frame
	events int // the number of frames that count towards the limit
	bytes  int
	cursor string
	seq    int64 // the number in cursor
}

var errAnswered = errors.New("the poll has its answer")

// Send takes frames until the answer is complete, and then fails. It never blocks.
func (g *gathering) Send(frames []*events.Frame) error {
	for _, f := range frames {
		switch f.Event {
		case "": // a heartbeat
		case events.StreamClosing:
			return errAnswered
		case events.StreamLive:
			g.live = true
			g.reach(f)
		case events.StreamCursor:
			g.reach(f)
		default:
			g.take(f)
		}
		if g.events >= g.limit || g.bytes >= queueBytes {
			return errAnswered
		}
	}
	if g.began && len(g.frames) > g.events || g.live && (g.events > 0 || g.late.Load()) {
		return errAnswered // a poll that begins with a snapshot ends with it
	}
	return nil
}

// take adds a frame to the answer.
func (g *gathering) take(f *events.Frame) {
	switch f.Event {
	case events.StreamReady, events.StreamReset, events.StreamChannels:
		g.began = g.began || f.ID != "" // the last frame of a snapshot has the id
		if g.resumed && f.Event == events.StreamReady {
			return
		}
		g.cursor = f.ID
		g.seq = f.Seq // after a reset it may be smaller than before
	default:
		g.events++
		g.bytes += len(f.SSE())
		g.reach(f)
	}
	g.frames = append(g.frames, f)
}

// reach moves the answer's cursor forward. It never moves it back: another server, which was ahead of this
// one, may have served the client.
func (g *gathering) reach(f *events.Frame) {
	if f.Seq > g.seq {
		g.cursor = f.ID
		g.seq = f.Seq
	}
}

// Name returns the transport's name in metrics.
func (g *gathering) Name() string { return "poll" }

// Close does nothing: Send never blocks.
func (g *gathering) Close() {}
