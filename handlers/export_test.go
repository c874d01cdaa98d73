package handlers

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/google/uuid"

	"fabric-guild/db"
	"fabric-guild/events"
	"fabric-guild/handlers/edge"
)

// LookAtKeys has the key files looked at when they are used next.
func LookAtKeys(s *Server) {
	for _, k := range s.keys {
		k.Recheck()
	}
}

// Lifetime is how long a stream may last.
func Lifetime(most time.Duration) time.Duration { return lifetime(most) }

// The limits on the requests of one user, for the tests outside of the package.
const (
	ReadsAtOnce = readsAtOnce
	PollsAtOnce = pollsAtOnce
)

// LookAtWakes sets how often claims that wait look without a ring. It must come before the first claim.
func LookAtWakes(s *Server, every time.Duration) { s.desks.every = every }

// PlacesTaken returns how many streams, polls and claims wait.
func PlacesTaken(s *Server) int { return s.places.Taken() }

// ClaimsAreIdle reports whether a user's claims that wait have found nothing since the last ring.
func ClaimsAreIdle(s *Server, user string) bool {
	s.desks.mu.Lock()
	d := s.desks.byUser[user]
	s.desks.mu.Unlock()
	if d == nil {
		return false
	}
	_, _, idle, _ := d.look(false)
	return idle
}

// HasDesk reports whether a user has a desk, and whether the desk has a watch.
func HasDesk(s *Server, user string) (there, watched bool) {
	s.desks.mu.Lock()
	d := s.desks.byUser[user]
	s.desks.mu.Unlock()
	if d == nil {
		return false, false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return true, d.ended != nil
}

// CloseDesk does what happens a while after a user's last claim.
func CloseDesk(s *Server, user string) {
	s.desks.mu.Lock()
	d := s.desks.byUser[user]
	s.desks.mu.Unlock()
	d.close()
}

// SpendReads takes everything that a user may read at once, as of an hour from now. So the user regains
// nothing for an hour, however slow the test is.
func SpendReads(s *Server, user string) error { return spend(s.readRates, user) }

// SpendChanges is like SpendReads, for changes.
func SpendChanges(s *Server, user string) error { return spend(s.rates, user) }

// SpendActivity is like SpendReads, for activity.
func SpendActivity(s *Server, user string) error { return spend(s.activity, user) }

func spend(x *edge.Rates, user string) error {
	return x.Take(http.Header{}, user, 1<<20, time.Now().Add(time.Hour))
}

// SpendWork charges a user so much time that the user's reads are refused for half a minute or more.
func SpendWork(s *Server, user string) {
	for range 4 {
		s.work.Charge(user, time.Minute)
	}
}

// Work charges a user some time. A user may spend 4 s at once.
func Work(s *Server, user string, took time.Duration) { s.work.Charge(user, took) }

// Hear takes a signal of another server.
func Hear(s *Server, x *events.Signal) { s.hear(x) }

// SpendFreshness counts a post with ifLast as of an hour from now. So the user may send no other one for an
// hour, however slow the test is.
func SpendFreshness(s *Server, user string, channel uuid.UUID) error {
	return s.freshness.Take(http.Header{}, freshKey(user, channel), 1, time.Now().Add(time.Hour))
}

// ParkedClaims returns how many claims wait on connections that were taken over.
func ParkedClaims(s *Server) int {
	s.desks.mu.Lock()
	defer s.desks.mu.Unlock()
	return len(s.desks.held)
}

// ShowWork shows how work stands, as RunWork does.
func ShowWork(s *Server, ctx context.Context, c db.WorkChange, show func(*events.Signal)) {
	s.showWork(ctx, c, func(x *events.Signal, _ func(int) json.RawMessage) { show(x) })
}
