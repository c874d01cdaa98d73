package events

import (
	"slices"
	"time"
)

// idleUser is how long the channels of a user without sessions are still known.
const idleUser = 10 * time.Second

// forget removes an ended session. Its user stays for a while: whoever polls, or was cut, is back soon, and then
// needs no query to be known.
func (r *Router) forget(s *Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.all, s)
	u := s.user
	r.detach(s)
	r.part(s)
	if u.idleLocked() {
		if u.state != ready || r.closed {
			r.drop(u)
		} else if u.idle == nil {
			u.idle = time.AfterFunc(idleUser, func() {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.drop(u)
			})
		} else {
			u.idle.Reset(idleUser)
		}
	}
	r.ended.Done()
}

// release has s not count any more: whoever reads that it ends may open the next one at once.
func (r *Router) release(s *Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.part(s)
}

func (r *Router) part(s *Session) {
	if !s.parted {
		s.parted = true
		if s.opts.Uncounted {
			s.user.watches--
		} else {
			s.user.open = slices.DeleteFunc(s.user.open, func(o *Session) bool { return o == s })
		}
	}
}

// drop removes a user without sessions.
func (r *Router) drop(u *user) {
	if !u.idleLocked() || r.users[u.id] != u {
		return
	}
	delete(r.users, u.id)
	if u.load != nil { // nobody waits for it any more
		r.loads = slices.DeleteFunc(r.loads, func(l *load) bool { return l == u.load })
	}
	for _, i := range u.intervals.all {
		if i.Left == 0 {
			r.unroute(u, i.ChannelID)
		}
	}
}

// idleLocked reports whether a user has no sessions.
func (u *user) idleLocked() bool { return len(u.open) == 0 && u.watches == 0 }
