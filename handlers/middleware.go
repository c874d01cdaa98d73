package handlers

import (
	"bufio"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

const requestIDHeader = "X-Request-Id"

// logRequests gives each request an id and writes one line at its end; a stream on a taken-over connection
// writes its own. Paths hold ids; queries, headers and bodies stay out of the log.
func (s *Server) logRequests(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		id := r.Header.Get(requestIDHeader)
		if !validRequestID(id) {
			id = uuid.NewString()
		}
		w.Header().Set(requestIDHeader, id)
		rec := &recorder{ResponseWriter: w}
		defer func() { s.logRequest(rec, r, id, time.Since(start)) }() // also of one that was given up
		defer rec.end()
		next.ServeHTTP(rec, r)
	})
}

func (s *Server) logRequest(rec *recorder, r *http.Request, id string, took time.Duration) {
	if rec.hijacked {
		return
	}
	status := rec.status
	if r.Context().Err() != nil && status == 0 {
		status = statusClientGone
	}
	if !rec.route.lasts || status != http.StatusOK { // how long a stream lasted tells nothing of the server
		s.metrics.Request(r.Method, rec.route.path, status, took)
	}
	if rec.code != "" {
		s.metrics.Refused(rec.code)
	}
	level := requestLevel(rec.route.path, status)
	if !s.logger.Enabled(r.Context(), level) {
		return
	}
	s.logger.Log(r.Context(), level, "request", "request_id", id, "client", s.proxies.client(r),
		"method", cut(r.Method, maxLoggedMethod), "path", cut(r.URL.Path, maxLoggedPath),
		"status", status, "duration_ms", took.Milliseconds())
}

// Bounds of what a request chooses of its line in the log, in bytes: more than any route needs.
const maxLoggedMethod, maxLoggedPath = 32, 512

// statusClientGone is that of a request whose client did not wait for its answer; nobody gets to see it.
const statusClientGone = 499

// requestLevel is that of a request's line. Probes come every few seconds, and what they find is in the metrics.
func requestLevel(route string, status int) slog.Level {
	switch {
	case status == statusClientGone:
		return slog.LevelDebug
	case status == http.StatusOK && slices.Contains([]string{"/healthz", "/readyz", "/metrics"}, route):
		return slog.LevelDebug
	case status >= http.StatusInternalServerError:
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

func validRequestID(id string) bool {
	return id != "" && len(id) <= 64 && !strings.ContainsFunc(id, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("._-", c)
	})
}

// A recorder remembers how a request was answered, and what the request holds until its end.
type recorder struct {
	http.ResponseWriter
	status   int
	code     string // of the problem that it was answered with
	route    route  // without a path: none
	hijacked bool
	place    func() // gives back the user's place; nil: none was taken
	read     func() // gives back the place among those who read the database
}

// recorderOf finds the recorder below what other middleware put around it; nil: there is none.
func recorderOf(w http.ResponseWriter) *recorder {
	for {
		if rec, ok := w.(*recorder); ok {
			return rec
		}
		wrapped, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return nil
		}
		w = wrapped.Unwrap()
	}
}

// hasRead says that the request reads the database no more. It may be called more than once.
func (r *recorder) hasRead() {
	if r.read != nil {
		r.read()
		r.read = nil
	}
}

// end gives back what the request holds.
func (r *recorder) end() {
	r.hasRead()
	if r.place != nil {
		r.place()
		r.place = nil
	}
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Hijack is what http.ResponseController looks for.
func (r *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buf, err := http.NewResponseController(r.ResponseWriter).Hijack()
	r.hijacked = err == nil
	return conn, buf, err
}

// Unwrap is what http.ResponseController looks for.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// recoverPanics turns a panic into a 500, with its stack in the log; never its request.
func (s *Server) recoverPanics(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			switch v := recover(); v {
			case nil:
			case http.ErrAbortHandler:
				panic(v)
			default:
				s.logger.ErrorContext(r.Context(), "panic", "request_id", w.Header().Get(requestIDHeader),
					"panic", v, "stack", string(debug.Stack()))
				p, _ := asProblem(nil)
				writeProblem(w, p)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// belowBasePath serves next below the configured prefix, and nothing elsewhere. The prefix itself leads to the
// console, whose addresses are relative to its slash.
func (s *Server) belowBasePath(next http.Handler) http.Handler {
	if s.basePath == "" {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, below := strings.CutPrefix(r.URL.Path, s.basePath)
		if below && path == "" && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
			http.Redirect(w, r, s.basePath+"/", http.StatusPermanentRedirect)
			return
		}
		if !below || !strings.HasPrefix(path, "/") {
			s.notFound(w, r)
			return
		}
		inside := r.WithContext(r.Context())
		inside.URL = &url.URL{Path: path, RawQuery: r.URL.RawQuery} // strict has seen the path as it was written
		next.ServeHTTP(w, inside)
	})
}
