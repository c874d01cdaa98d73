package handlers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"fabric-guild/db"
	"fabric-guild/events/live"
)

// staleAfter is how long the log may go unread before streams are taken to stand still.
const staleAfter = 5 * time.Second

type healthAnswer struct {
	Status string `json:"status"`
}

type readyAnswer struct {
	Status   string   `json:"status"`
	Checks   []string `json:"checks"`             // that passed
	Warnings []string `json:"warnings,omitempty"` // faults that requests do not suffer from yet
}

// healthz says that the process runs.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, healthAnswer{"ok"})
}

// A check is one of the things without which requests are not welcome here.
type check struct {
	name string
	code string // of the problem, when it fails
	fail string // why it does, empty if it does not
}

// checks looks at all of them, so that whoever has to mend something sees everything at once.
func (s *Server) checks(ctx context.Context) []check {
	accepting := check{name: "accepting", code: "draining"}
	if s.draining.Load() {
		accepting.fail = "this server is about to stop"
	}
	database := check{name: "database", code: "database_unavailable"}
	changes := check{name: "changes", code: "changes_refused"}
	database.fail, changes.fail = s.checkDatabase(ctx)
	log := check{name: "log", code: "log_stale"}
	if age := s.tailer.Age(); age > staleAfter {
		log.fail = fmt.Sprintf("the log was last read %d s ago; streams stand still", int(age.Seconds()))
	}
	horizon := check{name: "horizon", code: "horizon_held"}
	if held := s.tailer.Held(); held > live.HeldTooLong {
		horizon.fail = fmt.Sprintf("a transaction that appended to the log has not ended for %d s; streams wait for it", int(held.Seconds()))
	}
	return []check{accepting, database, changes, log, horizon}
}

// checkDatabase returns why Postgres does not answer, or else why it takes no changes; empty: it does. It
// takes less than three seconds.
func (s *Server) checkDatabase(ctx context.Context) (silent, refusing string) {
	ping, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	err := s.db.Ping(ping)
	if err == nil {
		err = s.db.TakesChanges(ctx)
	}
	if e, ok := errors.AsType[*db.NoChangesError](err); ok {
		return "", "Postgres answers, and takes no changes: " + e.Advice
	}
	if err != nil {
		return "Postgres does not answer", ""
	}
	return "", ""
}

// warnings are faults that requests do not suffer from yet.
func (s *Server) warnings() (all []string) {
	for name, readable := range s.keysReadable() {
		if !readable {
			all = append(all, name+" cannot be read: the key that was read before stays in use, and a restart would "+
				"fail; the log says why")
		}
	}
	slices.Sort(all)
	return all
}

// readyz says whether requests are welcome, which checks that rests on, and which of them fail.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) error {
	var passed []string
	var failed *problem
	for _, c := range s.checkOnce(r.Context()) {
		switch {
		case c.fail == "":
			passed = append(passed, c.name)
		case failed == nil:
			failed = newProblem(http.StatusServiceUnavailable, c.code, "%s", c.fail)
			failed.retryAfter = 1
			fallthrough
		default:
			failed.Errors = append(failed.Errors, fieldError{c.name, c.fail})
		}
	}
	if failed != nil {
		return failed
	}
	return writeJSON(w, http.StatusOK, readyAnswer{"ready", passed, s.warnings()})
}

// checkOnce lets those who ask at the same time share the answer: anybody may ask, and the tailer needs the
// connections that the checks use.
func (s *Server) checkOnce(ctx context.Context) []check {
	checks, _, _ := s.checking.Do("", func() (any, error) { return s.checks(context.WithoutCancel(ctx)), nil })
	return checks.([]check)
}

// scraper is whom requests of /metrics count for. It is no user's id.
const scraper = ""

// serveMetrics tells Prometheus.
func (s *Server) serveMetrics(w http.ResponseWriter, r *http.Request) error {
	leave, err := s.reading.enter(r.Context(), scraper) // anybody may ask, and each answer is collected in memory
	if err != nil {
		return err
	}
	defer leave()
	s.metrics.ServeHTTP(w, r)
	return nil
}
