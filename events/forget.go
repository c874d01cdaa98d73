package events

// forget removes an ended session, and with its last one the user.
func (r *Router) forget(s *Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.all, s)
	u := s.user
	r.detach(s)
	r.part(s)
	if u.streams == 0 && r.users[u.id] == u {
		delete(r.users, u.id)
		for _, i := range u.intervals {
			if i.Left == 0 {
				r.unroute(u, i.ChannelID)
			}
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
		s.user.streams--
	}
}
