package handlers

import (
	"context"
	"net/http"
	"time"
)

// staleAfter is how long the log may go unread before streams are taken to stand still.
const staleAfter = 5 * time.Second

type healthAnswer struct {
	Status string `json:"status"`
}

// healthz says that the process runs.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, healthAnswer{"ok"})
}

// readyz says whether requests are welcome: not while draining, nor without the database or the log.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) error {
	if s.draining.Load() {
		return notReady("draining", "this server is about to stop")
	}
	ctx, cancel := context.WithTimeout(r.Context(), time.Second)
	defer cancel()
	if err := s.db.Ping(ctx); err != nil {
		return notReady("database_unavailable", "Postgres does not answer")
	}
	if s.tailer.Age() > staleAfter {
		return notReady("log_stale", "the log has not been read for a while; streams stand still")
	}
	return writeJSON(w, http.StatusOK, healthAnswer{"ready"})
}

func notReady(code, detail string) error {
	p := newProblem(http.StatusServiceUnavailable, code, "%s", detail)
	p.retryAfter = 1
	return p
}

// serveMetrics tells Prometheus.
func (s *Server) serveMetrics(w http.ResponseWriter, r *http.Request) error {
	s.metrics.ServeHTTP(w, r)
	return nil
}
