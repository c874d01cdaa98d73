package events

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// pollGrace is how much longer than it was asked to a poll may take to come through its backlog.
const pollGrace = 5 * time.Second

// ErrUnread says that the log could not be read in time. Nothing is lost: ask again with the same cursor.
var ErrUnread = errors.New("the log could not be read in time")

// Polled is the answer to a long poll.
type Polled struct {
	// Frames are what a stream would have shown. Of its own (stream.*) there are those with a snapshot only.
	Frames []*Frame
	Cursor string // the position reached, where the next poll goes on
	Reset  string // why the cursor that was asked for could not be honoured; empty: it was
}

// Poll is a stream that ends with its first events: with up to limit of them, or when there have been none
// for as long as wait, or when the stream is closed. One that begins with a snapshot ends with it. The user's
// count of streams is down by one again when it returns. ErrUnread, and the errors of Open and of ctx.
func (r *Router) Poll(ctx context.Context, opts Options, limit int, wait time.Duration) (Polled, error) {
	g := &gathering{limit: limit, resumed: opts.Resume != nil}
	if g.resumed {
		g.cursor, g.seq = opts.Resume.String(), opts.Resume.Seq
	}
	over := make(chan struct{})
	opts.Marks, opts.Ended = true, func() { close(over) }
	s, err := r.Open(opts)
	if err != nil {
		return Polled{}, err
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
			return Polled{g.frames, g.cursor, s.opts.Reset}, nil
		case <-timer.C:
			if g.late.Swap(true) {
				s.Close("late", true)
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

// unbegun is why a poll was closed before it had a position to answer with.
func (r *Router) unbegun() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return ErrClosed
	}
	return ErrUnread
}

// mark has a live stream say how far it has come, after all that is queued.
func (s *Session) mark() {
	s.router.mu.Lock()
	defer s.router.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase == live && s.bye == nil {
		s.enqueue(cursorFrame(s.router.at))
	}
}

// A gathering is the transport of a poll: it keeps the frames until there are enough. All but late is the
// session's worker's until the session is over.
type gathering struct {
	limit   int
	resumed bool
	late    atomic.Bool // the client has waited for long enough

	began  bool // there is a position to go on from
	live   bool // the backlog is through
	frames []*Frame
	events int // of frames: those that count towards the limit
	bytes  int
	cursor string
	seq    int64 // of cursor
}

var errAnswered = errors.New("the poll has its answer")

// Send takes what the answer has room for, and fails when that is complete. It never blocks.
func (g *gathering) Send(frames []*Frame) error {
	for _, f := range frames {
		switch f.Event {
		case "": // a heartbeat
		case streamClosing:
			return errAnswered
		case streamLive:
			g.live = true
			g.reach(f)
		case streamCursor:
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

func (g *gathering) take(f *Frame) {
	switch f.Event {
	case streamReady, streamReset, streamChannels:
		g.began = g.began || f.ID != "" // the last frame of a snapshot has the id
		if g.resumed && f.Event == streamReady {
			return
		}
		g.cursor, g.seq = f.ID, f.seq // of a reset it may be the smaller one
	default:
		g.events++
		g.bytes += len(f.sse)
		g.reach(f)
	}
	g.frames = append(g.frames, f)
}

// reach never goes back: a client may have been served by a node that was ahead of this one.
func (g *gathering) reach(f *Frame) {
	if f.seq > g.seq {
		g.cursor, g.seq = f.ID, f.seq
	}
}

// Name is what metrics call it.
func (g *gathering) Name() string { return "poll" }

// Close has nothing to end, for Send never blocks.
func (g *gathering) Close() {}
