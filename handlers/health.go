package handlers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"fabric-guild/db"
	"fabric-guild/events/live"
	"fabric-guild/handlers/web"
)

// staleAfter is how long the event log may stay unread before the server reports that its streams are
// stalled.
const staleAfter = 5 * time.Second

type healthAnswer struct {
	Status string `json:"status"`
}

type readyAnswer struct {
	Status   string   `json:"status"`
	Checks   []string `json:"checks"`             // names of the checks that passed
	Warnings []string `json:"warnings,omitempty"` // faults that do not affect requests yet
}

// healthz answers that the process is running. It checks nothing else.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) error {
	return web.WriteJSON(w, http.StatusOK, healthAnswer{"ok"})
}

// isProbe reports whether a request asks for /healthz. Such a request is served even if its address has too
// many connections: a busy address must not make the process look dead.
func (s *Server) isProbe(r *http.Request) bool {
	return strings.TrimPrefix(r.URL.Path, s.basePath) == "/healthz"
}

// A check is the result of checking one condition. The server is ready for requests only if all checks pass.
type check struct {
	name string
	code string // the error code to answer with if the check fails
	fail string // why the check failed; empty: it passed
}

// checks runs all checks, also after one has failed, so that the operator sees all faults at once.
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
		log.fail = fmt.Sprintf("the event log was last read %d s ago; streams are paused until a read "+
			"succeeds", int(age.Seconds()))
	}
	horizon := check{name: "horizon", code: "horizon_held"}
	if held := s.tailer.Held(); held > live.HeldTooLong {
		horizon.fail = fmt.Sprintf("a transaction that appended to the event log has not ended for %d s; "+
			"streams are paused until it ends", int(held.Seconds()))
	}
	return []check{accepting, database, changes, log, horizon}
}

// checkDatabase returns why Postgres does not answer (silent), or why Postgres answers but takes no changes
// (refusing). Both are empty if all is well. checkDatabase takes less than three seconds.
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

// warnings returns faults that do not affect requests yet.
func (s *Server) warnings() (all []string) {
	for name, readable := range s.keysReadable() {
		if !readable {
			all = append(all, name+" cannot be read: the key that was read before stays in use, and a "+
				"restart would fail; the log says why")
		}
	}
	slices.Sort(all)
	return all
}

// keysReadable returns, for each key file of the server by name, whether the file can be used.
func (s *Server) keysReadable() map[string]bool {
	all := map[string]bool{}
	for _, key := range s.keys {
		all[key.Name()] = key.Readable()
	}
	return all
}

// readyz answers whether the server is ready for requests, and lists the checks that passed, or those that
// failed.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) error {
	var passed []string
	var failed *web.Problem
	for _, c := range s.checkOnce(r.Context()) {
		switch {
		case c.fail == "":
			passed = append(passed, c.name)
		case failed == nil:
			failed = web.NewProblem(http.StatusServiceUnavailable, c.code, "%s", c.fail)
			failed.RetryAfter = 1
			fallthrough
		default:
			failed.Errors = append(failed.Errors, web.FieldError{Field: c.name, Detail: c.fail})
		}
	}
	if failed != nil {
		return failed
	}
	return web.WriteJSON(w, http.StatusOK, readyAnswer{"ready", passed, s.warnings()})
}

// checkOnce returns the result of checks. Concurrent callers share one run (single flight). Anybody may send
// this request, and the tailer needs the database connections that the checks use. The end of ctx does not
// cancel the run.
func (s *Server) checkOnce(ctx context.Context) []check {
	checks, _, _ := s.checking.Do("",
		func() (any, error) { return s.checks(context.WithoutCancel(ctx)), nil })
	return checks.([]check)
}

// scraper is the user id that stands for all requests to /metrics in the limit of concurrent reads. No user
// has this id.
const scraper = ""

// serveMetrics answers with the metrics for Prometheus. It may wait for a place, for up to turnPatience.
func (s *Server) serveMetrics(w http.ResponseWriter, r *http.Request) error {
	// The limit bounds memory: anybody may send this request, and each answer is collected in memory.
	leave, err := s.reading.Enter(r.Context(), scraper)
	if err != nil {
		return err
	}
	defer leave()
	s.metrics.ServeHTTP(w, r)
	return nil
}
