package events

import (
	"time"
)

// replaceAfter is the age from which a stream may have to make room for a new one of its user.
//
// A client sends nothing on its stream, and the kernel of a stopped client, or a proxy before it, takes heartbeats for
// hours. So nothing on a quiet connection tells a living client from a stopped one. What tells is the end of the
// stream: a living client comes back and misses nothing. That makes opening a stream the sign of life, and the age
// keeps clients that are all alive from evicting each other in a circle: each of them is replaced once per
// replaceAfter at most, and in between a stream too many is refused.
const replaceAfter = 5 * time.Minute

// replaceLocked ends the stream of u whose client has shown no sign of life for longest, so that another may open.
// A stream whose client is not taking what is written goes first, then the oldest. It returns false if all streams
// are younger than replaceAfter. r.mu is held.
func (r *Router) replaceLocked(u *user) bool {
	var victim *Session
	var victimStuck bool
	for _, s := range u.open { // oldest first
		if time.Since(s.born) < replaceAfter {
			break
		}
		if stuck := s.stuck(); victim == nil || stuck && !victimStuck {
			victim, victimStuck = s, stuck
		}
	}
	if victim == nil {
		return false
	}
	r.part(victim)
	victim.Close(closedReplaced, true)
	if victimStuck {
		victim.Abort() // it would not take the last frame either
	}
	return true
}

// stuck reports whether a write is under way. Writes take microseconds unless the client does not read.
func (s *Session) stuck() bool {
	if !s.writing.TryLock() {
		return true
	}
	s.writing.Unlock()
	return false
}
