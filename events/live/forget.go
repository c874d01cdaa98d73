package live

import (
	"slices"
	"time"
)

// idleUser is how long the router remembers the channels of a user without sessions.
const idleUser = 10 * time.Second

// forget removes an ended session. The router remembers its user for idleUser: a client that polls, or that
// was cut off, is back soon, and then needs no query.
func (r *Router) forget(s *Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.all, s)
	if s.opts.Activity {
		r.signals.asked--
	}
	u := s.user
	r.detachLocked(s)
	r.partLocked(s)
	if u.idleLocked() {
		if u.state != ready || r.closed {
			r.dropLocked(u)
		} else if u.idle == nil {
			u.idle = time.AfterFunc(idleUser, func() {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.dropLocked(u)
			})
		} else {
			u.idle.Reset(idleUser)
		}
	}
	r.ended.Done()
}

// release stops counting s as a stream of its user. So a client that reads stream.closing can open its next
// stream at once.
func (r *Router) release(s *Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.partLocked(s)
}

// partLocked stops counting s. r.mu is held.
func (r *Router) partLocked(s *Session) {
	if s.parted {
		return
	}
	s.parted = true
	if s.opts.Uncounted {
		s.user.watches--
	} else {
		s.user.open = slices.DeleteFunc(s.user.open, func(o *Session) bool { return o == s })
	}
}

// dropLocked removes a user, if the user has no sessions. r.mu is held.
func (r *Router) dropLocked(u *user) {
	if !u.idleLocked() || r.users[u.id] != u {
		return
	}
	delete(r.users, u.id)
	if u.load != nil { // nobody waits for the load any more
		r.loads = slices.DeleteFunc(r.loads, func(l *load) bool { return l == u.load })
	}
	for channel := range u.intervals.Open() {
		r.unrouteLocked(u, channel)
	}
}

// idleLocked reports whether a user has no sessions. The router's mu is held.
func (u *user) idleLocked() bool { return len(u.open) == 0 && u.watches == 0 }
