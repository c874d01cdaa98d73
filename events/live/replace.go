package live

import (
	"time"

	"fabric-guild/events"
)

// replaceAfter is the age from which a stream may have to make room for a new stream of its user.
//
// A client sends nothing on its stream, and the kernel of a stopped client, or a proxy before it, accepts
// heartbeats for hours. So a quiet connection does not show whether its client still runs. The end of the
// stream does: a running client reconnects and misses nothing. So opening a stream is the sign of life. The
// age keeps running clients from evicting each other in a circle: each of them is replaced at most once per
// replaceAfter, and in between the server refuses one stream too many.
const replaceAfter = 5 * time.Minute

// replaceLocked ends the stream of u whose client has shown no sign of life for longest, so that another may
// open. A stream whose client does not take what is written goes first, then the oldest. It returns false if
// all streams are younger than replaceAfter. r.mu is held.
func (r *Router) replaceLocked(u *user) bool {
	var victim *Session
	var victimStuck bool
	for _, s := range u.open { // oldest first
		if time.Since(s.born) < replaceAfter {
			break
		}
		stuck := s.stuck()
		if victim == nil || stuck && !victimStuck {
			victim = s
			victimStuck = stuck
		}
	}
	if victim == nil {
		return false
	}
	r.partLocked(victim)
	victim.Close(events.ClosedReplaced, true)
	if victimStuck {
		victim.Abort() // its client would not take the last frame either
	}
	return true
}

// stuck reports whether a write is in progress. A write takes microseconds, unless the client does not read.
func (s *Session) stuck() bool {
	if !s.writing.TryLock() {
		return true
	}
	s.writing.Unlock()
	return false
}
