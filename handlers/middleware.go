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

	"fabric-guild/handlers/web"
)

// logRequests gives each request an id and logs one line when the request ends. A stream on a taken-over
// connection logs its own line. The log shows paths, which hold ids. It never shows queries, headers or
// bodies, which may hold secrets and messages.
func (s *Server) logRequests(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		id := web.RequestID(r)
		w.Header().Set(web.RequestIDHeader, id)
		rec := &recorder{ResponseWriter: w}
		// Deferred, so that an aborted request is logged too.
		defer func() { s.logRequest(rec, r, id, time.Since(start)) }()
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
	if !rec.route.lasts || status != http.StatusOK { // the duration of a stream says nothing about the server
		s.metrics.Request(r.Method, rec.route.path, status, took)
	}
	if rec.code != "" {
		s.metrics.Refused(rec.code)
	}
	level := requestLevel(rec.route.path, status)
	if !s.logger.Enabled(r.Context(), level) {
		return
	}
	s.logger.Log(r.Context(), level, "request", "request_id", id, "client", s.proxies.Client(r),
		"method", web.Cut(r.Method, maxLoggedMethod), "path", web.Cut(r.URL.Path, maxLoggedPath),
		"status", status, "duration_ms", took.Milliseconds())
}

// A request chooses its method and path, so the log cuts them to these lengths, in bytes. No route needs
// more.
const maxLoggedMethod, maxLoggedPath = 32, 512

// statusClientGone is the logged status of a request whose client did not wait for the answer. No client ever
// receives it.
const statusClientGone = 499

// requestLevel returns the level at which a request is logged. Successful probes have the debug level: they
// come every few seconds, and metrics show their results.
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

// A recorder records how a request was answered, and what the request must give back at its end.
type recorder struct {
	http.ResponseWriter
	status   int
	code     string // the code of the problem that was the answer; empty: no problem
	route    route  // its path is empty if no route matched
	hijacked bool
	place    func()    // gives back the user's place in its lane; nil: the request has none
	began    time.Time // when the work began; later by what the request has waited for other users
	work     func()    // charges the work that the answer took; nil: the request is not charged
	read     func()    // gives back the place that db.DB.Reading gave; nil: the request has none
}

// recorderOf returns the recorder inside w, which other middleware may have wrapped. It returns nil if there
// is none.
func recorderOf(w http.ResponseWriter) *recorder {
	rec, _ := web.Find[*recorder](w)
	return rec
}

// Answering implements web.Observer. The request gives back its place among the readers of the database, so
// it must not read the database afterwards.
func (r *recorder) Answering(code string) {
	r.code = code
	r.hasRead()
}

// hasRead gives back the request's place among the readers of the database. The request must not read the
// database afterwards. hasRead may be called more than once.
func (r *recorder) hasRead() {
	if r.read != nil {
		r.read()
		r.read = nil
	}
}

// worked charges the work of the request. The time that the client takes to read the answer does not count.
// worked may be called more than once.
func (r *recorder) worked() {
	if r.work != nil {
		r.work()
		r.work = nil
	}
}

// waited takes a wait for a place out of the work that the request is charged for. r may be nil.
func (r *recorder) waited(since time.Time) {
	if r != nil {
		r.began = r.began.Add(time.Since(since))
	}
}

// end gives back the places that the request holds. It may be called more than once.
func (r *recorder) end() {
	r.worked()
	r.hasRead()
	if r.place != nil {
		r.place()
		r.place = nil
	}
}

// WriteHeader implements http.ResponseWriter.
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.worked()
	r.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	r.worked()
	return r.ResponseWriter.Write(b)
}

// Hijack implements http.Hijacker. http.ResponseController calls it.
func (r *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buf, err := http.NewResponseController(r.ResponseWriter).Hijack()
	r.hijacked = err == nil
	return conn, buf, err
}

// Unwrap returns the wrapped http.ResponseWriter. http.ResponseController and recorderOf call it.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// recoverPanics turns a panic into a 500. It logs the panic and the stack, but nothing of the request except
// its id. http.ErrAbortHandler passes through.
func (s *Server) recoverPanics(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			switch v := recover(); v {
			case nil:
			case http.ErrAbortHandler:
				panic(v)
			default:
				s.logger.ErrorContext(r.Context(), "panic", "request_id", w.Header().Get(web.RequestIDHeader),
					"panic", v, "stack", string(debug.Stack()))
				p, _ := asProblem(nil)
				web.WriteProblem(w, p)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// belowBasePath serves next below the configured prefix. Other paths get 404. The prefix itself redirects to
// the console at the prefix with a slash: the console's links are relative to that slash.
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
		// RawPath may be dropped: edge.Unambiguous has checked the path as the client wrote it.
		inside.URL = &url.URL{Path: path, RawQuery: r.URL.RawQuery}
		next.ServeHTTP(w, inside)
	})
}
