package live

import "fabric-guild/events"

// Rename makes the recent events name their authors as the users are now. A stream that resumes from the ring
// then shows the names that the event log has. Frames that wait in the queue of a session keep the old name.
func (r *Router) Rename(authors []events.Profile) {
	now := make(map[string]events.Profile, len(authors))
	for _, a := range authors {
		now[a.UserID] = a
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ring.rename(now)
}

// rename makes all events of the ring name the authors as in now.
func (r *ring) rename(now map[string]events.Profile) {
	for i, e := range r.events {
		if e.Message == nil {
			continue
		}
		a, ok := now[e.Message.AuthorUserID]
		if !ok {
			continue
		}
		named := e.ByAuthor(a)
		r.size += named.Size() - e.Size()
		r.events[i] = named
	}
}
