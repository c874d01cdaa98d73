package handlers

import (
	"net/http"
	"time"
)

// Limits on the requests of one user that are in progress at once, and on those that wait. A request is in
// progress until its client has read the answer. So these limits also bound the memory for unread answers: a
// page of a list has at most 1 MiB, and the answer to a change has about 100 KiB.
const (
	readsAtOnce, readsWaiting     = 4, 200
	changesAtOnce, changesWaiting = 64, 1000
	// pollsAtOnce is twice the router's limit, because the next poll may arrive before the last one has ended.
	pollsAtOnce = 32
)

// admit charges a request to the rate limit of an authenticated user. Then it waits until the user has a free
// place for another concurrent request. A request that reads the database also waits for a database
// connection. The recorder gives the places back at the end of the request. For a route that lasts, like a
// stream, admit checks only the rate: other limits bound how many of these are open.
func (s *Server) admit(w http.ResponseWriter, r *http.Request, user string) error {
	rate, under := s.rates, s.changing
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		rate, under = s.readRates, s.reading
	}
	rec := recorderOf(w)
	if rec != nil && rec.route.queue {
		rate = s.queueRates
	}
	if err := rate.Take(w.Header(), user, time.Now()); err != nil {
		return err
	}
	if rec == nil || rec.route.lasts {
		return nil
	}
	leave, err := under.Enter(r.Context(), user)
	if err != nil {
		return err
	}
	rec.place = leave
	if !rec.route.reads {
		return nil
	}
	// This wait comes after the wait for the user's own turn. So the requests of one user wait for each other
	// there, and do not take the places of other users here.
	rec.read, err = s.db.Reading(r.Context())
	return err
}
