package live

import (
	"time"

	"fabric-guild/events"
)

const heartbeatInterval = 15 * time.Second

// tick is the stream's clock. It sends heartbeats and the position of a quiet stream, and ends the stream at
// the end of its token and at its rotation.
func (s *Session) tick() {
	if !s.opts.Expires.IsZero() && !time.Now().Before(s.opts.Expires) {
		s.Close(events.ClosedTokenExpired, false)
		return
	}
	if s.opts.Revoked != nil {
		if s.Hold() {
			go s.recheck() // in its own goroutine: it may be slow, and the token may end meanwhile
		}
	}
	s.router.mu.Lock() // the position stands still, so everything that is queued is at or below it
	defer s.router.mu.Unlock()
	at := s.router.at
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase == ended || s.bye != nil {
		return
	}
	switch {
	case s.phase == catchingUp:
		s.holdLocked()
		go s.beat()
	case s.rotateLocked():
		s.kickLocked()
		return
	case len(s.queue) > 0: // the client is behind already: more bytes do not help
	// by time, not by count: retention may go by time, and must not overtake an open stream
	case at.Seq > s.shown:
		s.enqueueLocked(events.CursorFrame(at))
	default:
		s.enqueueLocked(s.opts.Format.Heartbeat(&at))
	}
	s.timer.Reset(s.untilTick())
}

// beat sends the heartbeat of a stream that catches up, which may wait for the event log for long. The
// heartbeat shows no position, because there is a backlog before it. While a part of the backlog is being
// written, no heartbeat is needed.
func (s *Session) beat() {
	defer s.Release()
	if !s.writing.TryLock() {
		return
	}
	err := s.writeLocked([]*events.Frame{s.opts.Format.Heartbeat(nil)})
	s.writing.Unlock()
	if err != nil {
		s.Fail(err)
	}
}

// rotateLocked ends a live stream that has reached its age. It returns false if the stream has not. s.mu is
// held.
func (s *Session) rotateLocked() bool {
	if s.opts.Rotates.IsZero() || time.Now().Before(s.opts.Rotates) {
		return false
	}
	s.byeLocked(events.ClosedRotated, true)
	return true
}

// recheck asks whether the token was revoked.
func (s *Session) recheck() {
	defer s.Release()
	if s.opts.Revoked() {
		s.Close(events.ClosedTokenRevoked, false)
	}
}

// untilTick returns the time to the next tick: a heartbeat, or the end of the stream if that comes first.
func (s *Session) untilTick() time.Duration {
	d := heartbeatInterval
	if !s.opts.Expires.IsZero() {
		d = max(0, min(d, time.Until(s.opts.Expires)))
	}
	if left := time.Until(s.opts.Rotates); left > 0 { // a rotation that is due waits until the stream is live
		d = min(d, left)
	}
	return d
}
