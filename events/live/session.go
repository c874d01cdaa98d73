package live

import (
	"sync"
	"time"

	"fabric-guild/events"
)

// The bounds of a session's queue. A reader that falls further behind goes back to the event log.
const (
	queueFrames = 256
	queueBytes  = 1 << 20
	spareFrames = 8 // the largest slice that an idle session keeps
)

// cursorLag is how far a catch-up may leave the last id behind before it sends a stream.cursor. So a
// later resume need not read again what was not for the client. A live stream sends its position at each
// heartbeat.
const cursorLag = 1000

// A Transport carries whole frames to one client.
//
// Send blocks until the system has taken all of the frames. It fails if the client takes nothing for the
// transport's write timeout. There are no two calls of Send at a time. Close makes Send fail; it must not
// block, and may be called at any time and more than once. Name returns the transport's name in metrics.
type Transport interface {
	Send(frames []*events.Frame) error
	Close()
	Name() string
}

// A Session is one stream: a position in the event log and, while the stream is live, a short queue. At most
// one goroutine, the worker, works for it at a time. The worker starts when there is something to do, and
// ends when it is done.
type Session struct {
	router *Router
	opts   Options // after Start, only the worker uses Resume
	reset  string  // why Resume is not used: one of events.ResetReasons, or empty; the worker's too
	from   int64   // the position of the client when it opened the stream; it never changes
	born   time.Time
	user   *user // set by Open; router.mu guards what it points to

	parted bool // the session no longer counts as a stream of its user; router.mu guards it

	mu sync.Mutex
	// mu guards these. Once to is set it does not change, and the worker may read it without the lock.
	to          Transport
	phase       phase
	ending      string          // why the stream ended, if not by bye: one of events.Endings
	working     bool            // a worker runs, and will see any change
	queue       []*events.Frame // in order, after what the worker writes now
	bytes       int             // the length of the frames in queue, without signals
	signals     int             // the number of frames in queue that are signals
	signalBytes int             // their length
	// the method work; stored once, because a go statement would allocate it each time
	run   func()
	bye   *events.Frame // the last frame, once the stream must end
	stop  func()        // interrupts a catch-up
	timer *time.Timer
	shown int64 // the last number that was sent as an id

	writing sync.Mutex // held during a write, by the worker or by a heartbeat during a catch-up

	// Only the worker uses these.
	opened  bool // stream.ready is sent
	resumed bool // stream.live must still be sent
	counted bool // this catch-up is counted
	at      int64
}

type phase uint8

const (
	catchingUp phase = iota
	live             // the session is attached to the router
	ended            // nothing is written any more
)

// Format returns the form in which the stream must be written.
func (s *Session) Format() events.Format { return s.opts.Format }

// Start begins to serve the stream over a transport. It returns at once.
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
	s.kickLocked()
}

// Hold makes Router.Close wait for one more goroutine of the stream, until the goroutine calls Release. It
// returns false if the stream is over; then there must be no Release.
func (s *Session) Hold() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.holdLocked()
}

// holdLocked is Hold. s.mu is held.
func (s *Session) holdLocked() bool {
	if s.phase == ended {
		return false
	}
	s.router.ended.Add(1) // safe: the session's own count is not yet released
	return true
}

// Release ends a Hold.
func (s *Session) Release() { s.router.ended.Done() }

// Close ends the stream after what is queued, with a stream.closing. The reason is one of
// events.ClosingReasons, or an ending of a poll; reconnect says whether the client should come back. Close
// does not block.
func (s *Session) Close(reason string, reconnect bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bye != nil || s.phase == ended {
		return
	}
	s.byeLocked(reason, reconnect)
	s.interruptLocked()
}

// byeLocked sets the last frame, and counts the end of the stream. s.mu is held.
func (s *Session) byeLocked(reason string, reconnect bool) {
	s.bye = events.ClosingFrame(reason, reconnect)
	s.router.counters.Closed.add(reason, 1)
}

// Abort ends the stream at once, without a last frame: the client is gone or takes nothing. Abort does not
// block.
func (s *Session) Abort() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.abortLocked()
}

// abortLocked is Abort. s.mu is held.
func (s *Session) abortLocked() {
	if s.phase == ended {
		return
	}
	s.phase = ended
	if s.to != nil {
		s.to.Close()
	}
	s.interruptLocked()
}

// Fail ends the stream after an error of its transport. Nothing may follow, because a part of a frame may
// have been written. Fail does not block.
func (s *Session) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase != ended {
		s.ending = endingOf(err)
	}
	s.abortLocked()
}

// interruptLocked stops a catch-up, and makes a worker look. s.mu is held.
func (s *Session) interruptLocked() {
	if s.stop != nil {
		s.stop()
	}
	s.kickLocked()
}

// kickLocked starts a worker if none runs, unless the stream has not started. s.mu is held.
func (s *Session) kickLocked() {
	if !s.working && (s.to != nil || s.phase == ended) {
		s.working = true
		go s.run()
	}
}

// offerLocked queues e if it is for this stream, and counts the outcome. It never blocks. The router's mu is
// held. The router offers to attached sessions only, in the order of the event log.
func (s *Session) offerLocked(e *events.Event, in events.Interval, n *deliveries) {
	f := e.FrameFor(s.opts.User, in, &s.opts.Filter)
	if f == nil {
		n[events.Skip]++
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase != live || s.bye != nil {
		return
	}
	if e.Cursor.Seq <= s.from {
		return // the client was ahead of this server, and has seen the event
	}
	waiting := len(s.queue) - s.signals
	if waiting >= queueFrames || s.bytes+len(f.SSE()) > queueBytes && waiting > 0 {
		s.router.overflowLocked(s)
		return
	}
	n[f.Outcome()]++
	s.enqueueLocked(f)
}

// enqueueLocked queues frames, and starts a worker if none runs. s.mu is held.
func (s *Session) enqueueLocked(frames ...*events.Frame) {
	s.queue = append(s.queue, frames...)
	for _, f := range frames {
		s.bytes += len(f.SSE())
	}
	s.kickLocked()
}
