package events

import (
	"slices"
)

type attachment uint8

const (
	attached attachment = iota // the session is live, and what it still lacked is in its queue
	fromRing                   // frames are the next part of the ring, up to upTo
	fromLog                    // the ring does not reach back: read the log up to upTo
)

// attach makes s live if the ring holds the little that it lacks; otherwise it says what comes first.
func (r *Router) attach(s *Session) (frames []*Frame, upTo int64, how attachment) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase != catchingUp || s.bye != nil {
		return nil, 0, attached // to nothing any more
	}
	rest, covered := r.ring.after(s.at, queueFrames)
	if !covered {
		return nil, r.at.Seq, fromLog
	}
	var n deliveries
	defer r.counters.add(SourceRing, &n)
	size := 0
	for i, e := range rest {
		in, ok := s.user.intervals.of(e)
		if !ok && !e.isFor(s.opts.User) {
			continue
		}
		f := e.frameFor(s.opts.User, in, &s.opts.Filter)
		if n[f.outcome()]++; f == nil {
			continue
		}
		frames = append(frames, f)
		if size += len(f.sse); size >= queueBytes { // they stay in memory while the client takes them
			rest = rest[:i+1]
			break
		}
	}
	if len(rest) > 0 {
		if upTo = rest[len(rest)-1].Cursor.Seq; upTo < r.at.Seq {
			return frames, upTo, fromRing
		}
	}
	if s.resumed {
		at := r.at
		if s.at > at.Seq { // the client was ahead of this node: its own cursor, perhaps of an epoch that is yet to be seen here
			at = *s.opts.Resume
		}
		frames = append(frames, newFrame(streamLive, position{at}, at))
	}
	s.phase = live
	s.user.live = append(s.user.live, s)
	s.enqueue(frames...)
	s.rotated()
	return nil, 0, attached
}

// covers reports whether the ring reaches back to seq, and the router's position.
func (r *Router) covers(seq int64) (position int64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at.Seq, seq >= r.ring.floor
}

// overflow takes a session out of the live ones; it catches up from the last number that it wrote. Both
// locks are held.
func (r *Router) overflow(s *Session) {
	r.counters.Overflows.Add(1)
	s.queue, s.bytes = nil, 0
	s.phase = catchingUp
	r.detach(s)
}

func (r *Router) detach(s *Session) {
	s.user.live = slices.DeleteFunc(s.user.live, func(o *Session) bool { return o == s })
}
