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
	// pollsAtOnce is twice the router's limit, because the next poll may arrive before the last one has
	// ended.
	pollsAtOnce = 32
)

// admit charges a request to the rate limit of an authenticated user. Then it waits until the user has a free
// place for another concurrent request. A request that reads the database also waits for a database
// connection. The recorder gives the places back at the end of the request. For a route that lasts, like a
// stream, admit checks only the rate: other limits bound how many of these are open.
func (s *Server) admit(w http.ResponseWriter, r *http.Request, user string) error {
	rate, under := s.rates, s.changing
	rec := recorderOf(w)
	if r.Method == http.MethodGet || r.Method == http.MethodHead || rec != nil && rec.route.harmless {
		rate, under = s.readRates, s.reading
	}
	switch {
	case rec == nil:
	case rec.route.queue:
		rate = s.queueRates
	case rec.route.activity:
		rate = s.activity
	}
	if err := rate.Take(w.Header(), user, 1, time.Now()); err != nil {
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
	if under != s.reading {
		return nil
	}
	if err := s.work.Await(r.Context(), user); err != nil {
		return err
	}
	// This wait comes after the wait for the user's own turn. So the requests of one user wait for each other
	// there, and do not take the places of other users here.
	if rec.route.reads {
		if rec.read, err = s.db.Reading(r.Context()); err != nil {
			return err
		}
	}
	s.beginWork(rec, user)
	return nil
}

// beginWork charges the time from now on to a user, until the answer or its next part is written.
func (s *Server) beginWork(rec *recorder, user string) {
	if rec == nil {
		return
	}
	rec.began = time.Now()
	rec.work = func() { s.work.Charge(user, time.Since(rec.began)) }
}

// A change counts once, and once more for each of these. Without this, the largest changes that the limits
// allow would take all of the server's time, at the same rate as small ones.
const (
	bytesPerChange = 4 << 10 // of text
	usersPerChange = 20      // who are mentioned, or who become members
)

// weigh charges what a change costs beyond one request to the caller's rate limit. The error is a
// *web.Problem: the caller has too few requests left for this change.
func (s *Server) weigh(w http.ResponseWriter, user string, bytes, users int) error {
	return s.rates.Take(w.Header(), user, bytes/bytesPerChange+users/usersPerChange, time.Now())
}

// paced limits the time that a page without a token costs, by the client's address.
func (s *Server) paced(h handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		client := s.proxies.Household(r)
		if !client.IsValid() {
			// a proxy without a name for its client, or a program on this machine
			client = s.proxies.Client(r)
		}
		from := client.String()
		if err := s.pages.Await(r.Context(), from); err != nil {
			return err
		}
		began := time.Now()
		defer func() { s.pages.Charge(from, time.Since(began)) }()
		return h(w, r)
	}
}
