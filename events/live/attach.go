package live

import (
	"slices"

	"fabric-guild/events"
)

type attachment uint8

const (
	attached attachment = iota // the session is live, and its queue has what it still lacked
	fromRing                   // the frames are the next part of the ring, up to upTo
	fromLog                    // the ring does not reach back: the session must read the event log up to upTo
)

// attach makes s live if the ring holds all that s lacks and that is little. Otherwise it returns what comes
// first: the next frames from the ring, or the position up to which s must read the event log.
func (r *Router) attach(s *Session) (frames []*events.Frame, upTo int64, how attachment) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase != catchingUp || s.bye != nil {
		return nil, 0, attached // the session is ending: there is nothing left to catch up
	}
	rest, covered := r.ring.after(s.at, queueFrames)
	if !covered {
		return nil, r.at.Seq, fromLog
	}
	var n deliveries
	defer r.counters.add(SourceRing, &n)
	size := 0
	for i, e := range rest {
		in, ok := s.user.intervals.Of(e)
		if !ok && !e.ForAdmin(s.opts.User) {
			continue
		}
		f := e.FrameFor(s.opts.User, in, &s.opts.Filter)
		n[f.Outcome()]++
		if f == nil {
			continue
		}
		frames = append(frames, f)
		size += len(f.SSE())
		if size >= queueBytes { // the frames stay in memory while the client takes them
			rest = rest[:i+1]
			break
		}
	}
	if len(rest) > 0 {
		upTo = rest[len(rest)-1].Cursor.Seq
		if upTo < r.at.Seq {
			return frames, upTo, fromRing
		}
	}
	if s.resumed {
		at := r.at
		// the client is ahead of this server: it gets its own cursor, whose epoch may be new here
		if s.at > at.Seq {
			at = *s.opts.Resume
		}
		frames = append(frames, events.LiveFrame(at))
	}
	s.phase = live
	s.user.live = append(s.user.live, s)
	s.enqueueLocked(frames...)
	s.rotateLocked()
	return nil, 0, attached
}

// covers reports whether the ring reaches back to seq. It also returns the router's position.
func (r *Router) covers(seq int64) (position int64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at.Seq, seq >= r.ring.floor
}

// overflowLocked drops the queue of a live session and detaches the session. The session then catches up from
// the last number that it wrote. r.mu and s.mu are held.
func (r *Router) overflowLocked(s *Session) {
	r.counters.Overflows.Add(1)
	s.queue = nil
	s.bytes = 0
	s.signals = 0
	s.signalBytes = 0
	s.phase = catchingUp
	r.detachLocked(s)
}

// detachLocked takes s out of the live sessions of its user. r.mu is held.
func (r *Router) detachLocked(s *Session) {
	s.user.live = slices.DeleteFunc(s.user.live, func(o *Session) bool { return o == s })
}
