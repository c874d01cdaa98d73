package handlers

import "time"

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
