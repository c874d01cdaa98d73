package centertest

import (
	"net/http"
	"time"

	"fabric-guild/events/ssetest"
)

// Calls is how many calls of an endpoint have come in so far, whatever became of them.
func (s *Server) Calls(e Endpoint) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[e]
}

// Conns is how many connections have been made so far.
func (s *Server) Conns() int { return int(s.conns.Load()) }

// WaitCalls waits until n calls of an endpoint have come in.
func (s *Server) WaitCalls(e Endpoint, n int) {
	s.t.Helper()
	deadline := time.NewTimer(ssetest.Patience)
	defer deadline.Stop()
	for {
		s.mu.Lock()
		got, called := s.calls[e], s.called
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

// AllowBadKeys lets calls without the right x-api-key be answered 401 only. Otherwise each is an error of the
// test too.
func (s *Server) AllowBadKeys() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.allowBadKeys = true
}

// BadKeys is how many calls came without the right x-api-key.
func (s *Server) BadKeys() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.badKeys
}

// count counts a call, and returns what is to go wrong with it.
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
