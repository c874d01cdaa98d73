package centertest

import (
	"net/http"
	"time"

	"fabric-guild/events/ssetest"
)

// Calls returns how many calls of an endpoint have arrived so far, whatever their results.
func (s *Server) Calls(e Endpoint) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[e]
}

// Conns returns how many connections have been opened so far.
func (s *Server) Conns() int { return int(s.conns.Load()) }

// WaitCalls blocks until n calls of an endpoint have arrived. It ends the test if that takes too long.
func (s *Server) WaitCalls(e Endpoint, n int) {
	s.t.Helper()
	deadline := time.NewTimer(ssetest.Patience)
	defer deadline.Stop()
	for {
		s.mu.Lock()
		got := s.calls[e]
		called := s.called
		s.mu.Unlock()
		if got >= n {
			return
		}
		select {
		case <-called:
		case <-deadline.C:
			s.t.Fatalf("%s: got %d calls, want %d", e, got, n)
		}
	}
}

// AllowBadKeys allows calls with a missing or wrong x-api-key. They are answered with 401. Without
// AllowBadKeys, such a call is also an error of the test.
func (s *Server) AllowBadKeys() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.allowBadKeys = true
}

// BadKeys returns how many calls had a missing or wrong x-api-key.
func (s *Server) BadKeys() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.badKeys
}

// count counts a call and returns the fault to apply to it, or nil.
func (s *Server) count(e Endpoint) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[e]++
	close(s.called)
	s.called = make(chan struct{})
	return s.faults[e]
}

func (s *Server) keyIsRight(r *http.Request) bool {
	if keys := r.Header.Values("X-Api-Key"); len(keys) == 1 && keys[0] == s.APIKey {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.badKeys++
	if !s.allowBadKeys {
		s.t.Errorf("%s: x-api-key is missing or wrong", r.URL.Path)
	}
	return false
}
