package events

import (
	"sync"
	"time"
)

// Bounds of a session's queue. A reader that falls further behind goes back to the log.
const (
	queueFrames = 256
	queueBytes  = 1 << 20
	spareFrames = 8 // of an empty one
)

const (
	heartbeatInterval = 15 * time.Second
	// A stream that catches up is told its position when it is this far past the last id that it showed, so that a
	// later resume need not walk what was not meant for it. A live stream is told at each heartbeat.
	cursorLag = 1000
)

// A Transport carries whole frames to one client; its name is for metrics. Send blocks until the system has taken them all, and is
// never called twice at a time; it gives up on a client that takes nothing for WriteTimeout. Close makes
// Send fail, and may be called at any time and more than once.
type Transport interface {
	Send(frames []*Frame) error
	Close()
	Name() string
}

// Options are what a stream is opened with.
type Options struct {
	User   string
	Filter Filter
	// Resume is the position that the client has reached, checked by whoever opened the stream while the
	// router was in the epoch Checked; nil: none, so the stream begins with a snapshot.
	Resume  *Cursor
	Checked int64
	// Reset says why the client's cursor could not be honoured. The stream begins with a snapshot.
	Reset string
	// Snapshot asks for the snapshot on a resume as well.
	Snapshot bool
	// Lines asks for JSON lines in the place of text/event-stream.
	Lines bool
	// Padding is how many bytes without meaning follow each write.
	Padding int
	// Marks asks for a stream.cursor after each part of the backlog that comes from the log, also where nothing
	// in it was for the client.
	Marks bool
	// Beats makes the heartbeats events, for clients that do not get to see comments.
	Beats bool
	// Expires ends the stream at that time; zero: never.
	Expires time.Time
	// Rotates ends the stream at that time too, but no stream that has yet to come through its backlog; its
	// client is to come back, to whichever node then serves it.
	Rotates time.Time
	// Revoked is asked at every heartbeat and ends the stream when it answers yes; it may take its time.
	Revoked func() bool
	// Uncounted streams do not count towards MaxStreams: they have no client.
	Uncounted bool
	// Ended is called once the stream is over; nil: nobody asks.
	Ended func()
}

// A Session is one stream: a position in the log, and while it is live a short queue. At most one goroutine
// works for it at a time, started when there is something to do and gone when it is done.
type Session struct {
	router *Router
	opts   Options // Resume and Reset are the worker's own once it has started
	from   int64   // what the client has seen when it opened the stream; never changes
	born   time.Time
	user   *user // set by Open, guarded by router.mu from then on
	parted bool  // it does not count as one of its user's streams any more; guarded by router.mu
	to     Transport

	mu      sync.Mutex
	phase   phase
	working bool     // a worker runs, and will see any change
	queue   []*Frame // in order, after what the worker writes now
	bytes   int      // of queue
	run     func()   // work, made once: a go statement would allocate it each time
	bye     *Frame   // the last frame, once the stream is to end
	stop    func()   // interrupts a catch-up
	timer   *time.Timer
	shown   int64 // the last number that was sent as an id

	writing sync.Mutex // held while something is sent: by the worker, or a heartbeat during a catch-up

	// The worker's own.
	opened  bool // stream.ready is out
	resumed bool // stream.live is still to be sent
	counted bool // this catch-up is, by where it began
	ending  ending
	at      int64
}

type phase uint8

const (
	catchingUp phase = iota
	live             // attached to the router
	ended            // nothing is written any more
)

// closedReplaced is why a stream ends that makes room for a new one of its user.
const closedReplaced = "replaced"

// Open reserves a stream. The caller must start it, or abort it. A user who holds MaxStreams loses one that is
// older than replaceAfter. ErrTooManyStreams and ErrClosed tell that there is none.
func (r *Router) Open(opts Options) (*Session, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, ErrClosed
	}
	if opts.Resume != nil && opts.Checked != r.at.Epoch {
		return nil, ErrNewEpoch
	}
	u := r.users[opts.User]
	if u == nil {
		u = &user{id: opts.User}
		r.users[opts.User] = u
	}
	if !opts.Uncounted && len(u.open) >= MaxStreams && !r.replaceLocked(u) {
		return nil, ErrTooManyStreams
	}
	s := &Session{router: r, opts: opts, user: u, born: time.Now()}
	if opts.Uncounted {
		u.watches++
	} else {
		u.open = append(u.open, s)
	}
	s.run = s.work
	if opts.Resume != nil {
		s.from = opts.Resume.Seq
	}
	r.all[s] = struct{}{}
	r.ended.Add(1)
	return s, nil
}

// Start begins to serve. It returns at once.
func (s *Session) Start(to Transport) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase == ended {
		to.Close()
		return
	}
	s.to = to
	s.router.counters.Open.add(to.Name(), 1)
	s.router.counters.Opened.add(to.Name(), 1)
	s.timer = time.AfterFunc(s.untilTick(), s.tick)
	s.kick()
}

// watched lets the router wait for one more goroutine of the stream, until it has left. It answers false when
// the stream is over already.
func (s *Session) watched() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase == ended {
		return false
	}
	s.router.ended.Add(1) // on top of the session's own, which is still out
	return true
}

func (s *Session) left() { s.router.ended.Done() }

// Close ends the stream after what is queued, with a stream.closing that says why and whether to come back.
func (s *Session) Close(reason string, reconnect bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bye != nil || s.phase == ended {
		return
	}
	s.bye = closing(reason, reconnect)
	s.router.counters.Closed.add(reason, 1)
	s.interrupt()
}

func closing(reason string, reconnect bool) *Frame {
	return newFrame(streamClosing, struct {
		Reason    string `json:"reason"`
		Reconnect bool   `json:"reconnect"`
	}{reason, reconnect}, Cursor{})
}

// Abort ends the stream at once: the client is gone or takes nothing.
func (s *Session) Abort() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase == ended {
		return
	}
	s.phase = ended
	if s.to != nil {
		s.to.Close()
	}
	s.interrupt()
}

func (s *Session) interrupt() {
	if s.stop != nil {
		s.stop()
	}
	s.kick()
}

// kick sees to it that a worker runs, unless the stream has not started. s.mu is held.
func (s *Session) kick() {
	if !s.working && (s.to != nil || s.phase == ended) {
		s.working = true
		go s.run()
	}
}

// offer queues e if it is for this stream, and counts what came of it. It never blocks. The router calls it with its lock held, for
// attached sessions, in the log's order.
func (s *Session) offer(e *Event, in Interval, n *deliveries) {
	f := e.frameFor(s.opts.User, in, &s.opts.Filter)
	if f == nil {
		n[Skip]++
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase != live || s.bye != nil || e.Cursor.Seq <= s.from {
		return // the last: a client that was ahead of this node has seen it
	}
	if len(s.queue) >= queueFrames || s.bytes+len(f.sse) > queueBytes && len(s.queue) > 0 {
		s.router.overflow(s)
		return
	}
	n[f.outcome()]++
	s.enqueue(f)
}

func (s *Session) enqueue(frames ...*Frame) {
	s.queue = append(s.queue, frames...)
	for _, f := range frames {
		s.bytes += len(f.sse)
	}
	s.kick()
}

// work is the stream's worker: it does what there is to do and leaves.
func (s *Session) work() {
	var batch []*Frame
	for {
		s.mu.Lock()
		if len(s.queue) == 0 && s.bye == nil && s.phase == live {
			s.working = false
			s.spare(batch)
			s.mu.Unlock()
			return
		}
		phase, bye := s.phase, s.bye
		batch, s.queue, s.bytes = s.queue, nil, 0
		s.mu.Unlock()

		switch {
		case phase == ended:
			s.end()
			return
		case len(batch) > 0:
			s.send(batch)
		case bye != nil:
			s.router.release(s)
			s.send([]*Frame{bye})
			s.Abort()
		default:
			s.catchUp()
		}
	}
}

// spare leaves the slice of what was written last for what is queued next, if that is no burden to a stream
// that is quiet from now on. s.mu is held.
func (s *Session) spare(batch []*Frame) {
	if cap(batch) <= spareFrames {
		clear(batch)
		s.queue = batch[:0]
	}
}

// send writes frames, and notes how far the stream has come. It answers false when the stream is over.
func (s *Session) send(frames []*Frame) bool {
	if len(frames) == 0 {
		return true
	}
	s.writing.Lock()
	err := s.write(frames)
	s.writing.Unlock()
	if err != nil {
		s.fail(err)
		return false
	}
	var shown int64
	for _, f := range frames {
		shown = max(shown, f.seq)
		if f.Event == streamLive {
			s.resumed = false
		}
	}
	if shown > 0 {
		s.at = max(s.at, shown)
		s.mu.Lock()
		s.shown = shown
		s.mu.Unlock()
	}
	return true
}

// fail ends the stream after an error of its transport: what was written may be part of a frame, so nothing may
// follow it.
func (s *Session) fail(err error) {
	s.mu.Lock()
	if s.phase != ended {
		s.ending = endedBy(err)
	}
	s.mu.Unlock()
	s.Abort()
}

// end takes the stream out of the router.
func (s *Session) end() {
	s.mu.Lock()
	if s.timer != nil {
		s.timer.Stop()
	}
	told := s.bye != nil
	s.mu.Unlock()
	if s.to != nil {
		s.to.Close()
		s.router.counters.Open.add(s.to.Name(), -1)
		if !told {
			s.router.counters.Closed.add(s.ending.String(), 1)
		}
	}
	s.router.forget(s)
	if s.opts.Ended != nil {
		s.opts.Ended()
	}
}

// tick is the stream's clock: heartbeats, the position of a quiet stream, the end of a token, the rotation.
func (s *Session) tick() {
	if !s.opts.Expires.IsZero() && !time.Now().Before(s.opts.Expires) {
		s.Close("token_expired", false)
		return
	}
	if s.opts.Revoked != nil {
		if s.watched() {
			go s.recheck() // apart: it may take its time, and the token's end may come meanwhile
		}
	}
	s.router.mu.Lock() // the position stands still, so what is queued is all up to it
	defer s.router.mu.Unlock()
	at := s.router.at
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase == ended || s.bye != nil {
		return
	}
	switch {
	case s.phase == catchingUp:
		s.router.ended.Add(1)
		go s.beat()
	case s.rotated():
		s.kick()
		return
	case len(s.queue) > 0: // it will not get any better by more bytes
	case at.Seq > s.shown: // by time, not by count: retention may go by time, and must not overtake a stream that is open
		s.enqueue(cursorFrame(at))
	default:
		s.enqueue(s.opts.heartbeat(&at))
	}
	s.timer.Reset(s.untilTick())
}

// beat is the heartbeat of a stream that catches up, which may wait for the log for long. It shows no position,
// for there is a backlog before it; and where the backlog is just being written, that shows enough.
func (s *Session) beat() {
	defer s.left()
	if !s.writing.TryLock() {
		return
	}
	err := s.write([]*Frame{s.opts.heartbeat(nil)})
	s.writing.Unlock()
	if err != nil {
		s.fail(err)
	}
}

// rotated ends a live stream that has reached its age. s.mu is held.
func (s *Session) rotated() bool {
	if s.opts.Rotates.IsZero() || time.Now().Before(s.opts.Rotates) {
		return false
	}
	s.bye = closing("rotated", true)
	s.router.counters.Closed.add("rotated", 1)
	return true
}

// write writes frames and counts them. s.writing is held.
func (s *Session) write(frames []*Frame) error {
	dressed := s.opts.dress(frames)
	if err := s.to.Send(dressed); err != nil {
		return err
	}
	var size int64
	for _, f := range dressed {
		size += int64(len(f.sse))
	}
	c := &s.router.counters
	c.Writes.Add(1)
	c.WrittenFrames.Add(int64(len(frames)))
	c.WrittenBytes.Add(size)
	return nil
}

func (s *Session) recheck() {
	defer s.left()
	if s.opts.Revoked() {
		s.Close("token_revoked", false)
	}
}

// untilTick is the time to the next tick: a heartbeat, or what ends the stream if that comes first.
func (s *Session) untilTick() time.Duration {
	d := heartbeatInterval
	if !s.opts.Expires.IsZero() {
		d = max(0, min(d, time.Until(s.opts.Expires)))
	}
	if left := time.Until(s.opts.Rotates); left > 0 { // past it, it ends once it is live
		d = min(d, left)
	}
	return d
}

type position struct {
	Cursor Cursor `json:"cursor"`
}

func cursorFrame(at Cursor) *Frame { return newFrame(streamCursor, position{at}, at) }
