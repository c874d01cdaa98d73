package handlers

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/julienschmidt/httprouter"
)

// A route is one line of the API: a method of a path, and what answers it.
type route struct {
	method, path string
	handle       handler
	lasts        bool // for as long as it takes, like a stream
	queue        bool // its requests count apart from changes
	reads        bool // a user's request reads the database: it waits for a place among those who do
}

// routes is the whole API. The table "Who may what" in docs/api.md has each of them; a test fails for a
// route without a row.
func (s *Server) routes() []route {
	return []route{
		on("POST", "/api/channels", s.createChannel),
		reads("/api/channels", s.listChannels),
		reads("/api/channels/:id", s.channel),
		on("PATCH", "/api/channels/:id", s.renameChannel),
		on("DELETE", "/api/channels/:id", s.archiveChannel),
		on("POST", "/api/channels/:id/join", s.join),
		on("POST", "/api/channels/:id/leave", s.leave),
		reads("/api/channels/:id/members", s.listMembers),
		on("PUT", "/api/channels/:id/members/:userId", s.addMember),
		on("DELETE", "/api/channels/:id/members/:userId", s.removeMember),
		reads("/api/channels/:id/wake", s.wakeList),
		on("PUT", "/api/channels/:id/wake", s.setWakeList),
		reads("/api/channels/:id/turn", s.turn),
		on("POST", "/api/channels/:id/turn", s.setTurn),
		on("POST", "/api/channels/:id/messages", s.postMessage),
		reads("/api/channels/:id/messages", s.history),
		{method: "GET", path: "/api/stream", handle: s.stream, lasts: true},
		{method: "GET", path: "/api/events", handle: s.poll, lasts: true},
		on("POST", "/api/channels/:id/stop", s.stopWork),
		{method: "POST", path: "/api/wakes/claim", handle: s.claimWake, lasts: true, queue: true},
		on("GET", "/api/wakes", s.listWakes),
		on("DELETE", "/api/wakes", s.closeQueue),
		{method: "POST", path: "/api/wakes/:id/extend", handle: s.extendWake, queue: true},
		on("POST", "/api/wakes/:id/ack", s.ackWake),
		on("POST", "/api/wakes/:id/nack", s.nackWake),
		on("POST", "/api/wakes/dead/:id/retry", s.retryWake),
		on("DELETE", "/api/wakes/dead/:id", s.hideWake),
		on("PATCH", "/api/messages/:id", s.editMessage),
		on("DELETE", "/api/messages/:id", s.deleteMessage),
		reads("/api/messages/:id/deliveries", s.deliveries),
		on("GET", "/api/sync", s.sync),
		on("GET", "/api/me", s.me),
		on("POST", "/api/session", s.openSession),
		on("DELETE", "/api/session", s.closeSession),
		on("POST", "/api/admin/refresh", s.refreshAdmin),
		on("GET", "/healthz", s.healthz),
		on("GET", "/readyz", s.readyz),
		on("GET", "/openapi.json", s.contract),
		on("GET", "/", s.page),
		on("GET", "/console/:file", s.page),
		on("GET", "/docs", s.docs),
		on("GET", "/docs/:page", s.docs),
		on("GET", "/llms.txt", s.llms),
		on("GET", "/metrics", s.serveMetrics),
	}
}

func on(method, path string, h handler) route { return route{method: method, path: path, handle: h} }

func reads(path string, h handler) route {
	return route{method: http.MethodGet, path: path, handle: h, reads: true}
}

// mux leads each request to its route.
func (s *Server) mux() http.Handler {
	rest := s.newMux(http.HandlerFunc(s.notFound))
	first := s.newMux(rest)
	for _, r := range s.routes() {
		m := first
		if besideWords(r.path) {
			m = rest
		}
		if r.lasts {
			m.Handler(r.method, r.path, s.adapt(r.counted(r.handle)))
			continue
		}
		h := s.adapt(r.counted(inTime(r.handle)))
		m.Handler(r.method, r.path, h)
		if r.method == http.MethodGet {
			m.Handler(http.MethodHead, r.path, h) // RFC 9110 §9.1; net/http drops the body
		}
	}
	return first
}

func (s *Server) newMux(notFound http.Handler) *httprouter.Router {
	m := httprouter.New()
	m.RedirectTrailingSlash, m.RedirectFixedPath = false, false // no redirects: a stream's client would follow, or fail
	m.HandleOPTIONS = false
	m.NotFound = notFound
	m.MethodNotAllowed = http.HandlerFunc(s.methodNotAllowed)
	return m
}

// besideWords reports whether a path has a parameter where other paths have a word, as /api/wakes/:id has beside
// /api/wakes/claim. httprouter does not take both, so these come after the others.
func besideWords(path string) bool { return strings.HasPrefix(path, "/api/wakes/:id/") }

// A handler answers a request, or returns why it does not: then nothing has been written.
type handler func(w http.ResponseWriter, r *http.Request) error

// counted has a request counted as one of this route.
func (r route) counted(h handler) handler {
	return func(w http.ResponseWriter, req *http.Request) error {
		if rec := recorderOf(w); rec != nil {
			rec.route = r
		}
		return h(w, req)
	}
}

// inTime bounds how long a request may wait for the database.
func inTime(h handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		defer cancel()
		return h(w, r.WithContext(ctx))
	}
}

const requestTimeout = 20 * time.Second

// adapt turns a handler's error into a problem. What is not for its client goes to the log.
func (s *Server) adapt(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := h(w, r)
		if err == nil {
			return
		}
		p, told := asProblem(err)
		if !told && r.Context().Err() != nil {
			// The client is gone, or will send nothing more, which net/http takes for the same: no answer then,
			// for the one that net/http would give is an empty 200.
			panic(http.ErrAbortHandler)
		}
		if !told {
			s.logger.ErrorContext(r.Context(), "request failed", "request_id", w.Header().Get(requestIDHeader), "error", err)
		}
		writeProblem(w, p)
	})
}

func (s *Server) notFound(w http.ResponseWriter, _ *http.Request) {
	writeProblem(w, newProblem(http.StatusNotFound, "not_found", "there is nothing at this path"))
}

func (s *Server) methodNotAllowed(w http.ResponseWriter, _ *http.Request) {
	methods := strings.Split(w.Header().Get("Allow"), ", ")
	methods = slices.DeleteFunc(methods, func(m string) bool { return m == http.MethodOptions }) // httprouter adds it unasked
	allow := strings.Join(methods, ", ")
	w.Header().Set("Allow", allow)
	writeProblem(w, newProblem(http.StatusMethodNotAllowed, "method_not_allowed", "this path takes %s", allow))
}
