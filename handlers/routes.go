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
	m := httprouter.New()
	m.RedirectTrailingSlash, m.RedirectFixedPath = false, false // no redirects: a stream's client would follow, or fail
	m.HandleOPTIONS = false
	m.NotFound = http.HandlerFunc(s.notFound)
	m.MethodNotAllowed = http.HandlerFunc(s.methodNotAllowed)
	for _, r := range s.routes() {
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
	return m
}

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
