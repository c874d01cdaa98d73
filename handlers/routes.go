package handlers

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"fabric-guild/handlers/web"

	"github.com/julienschmidt/httprouter"
)

// A route is one line of the API: a method, a path, and the handler for both.
type route struct {
	method, path string
	handle       handler
	lasts        bool // a request may last long, as a stream does: requestTimeout does not apply
	queue        bool // queueRates limits its requests, not the rate of changes
	harmless     bool // it changes nothing, although it is no GET: the limits of reads apply
	activity     bool // the rate of activity limits its requests, not the rate of changes
	reads        bool // it reads the database: a user's request must first get a place from db.DB.Reading
}

// routes returns the whole API. The table "Who may what" in docs/api.md must have a row for each route; a
// test checks this.
func (s *Server) routes() []route {
	return []route{
		on("POST", "/api/channels", s.createChannel),
		reads("/api/channels", s.listChannels),
		reads("/api/channels/:id", s.channel),
		on("PATCH", "/api/channels/:id", s.updateChannel),
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
		on("PUT", "/api/channels/:id/read", s.markRead),
		on("GET", "/api/search", s.search), // it gets its place among the readers itself
		{method: "POST", path: "/api/channels/:id/activity", handle: s.showActivity, activity: true},
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
		reads("/api/messages/:id", s.message),
		on("PATCH", "/api/messages/:id", s.editMessage),
		on("DELETE", "/api/messages/:id", s.deleteMessage),
		reads("/api/messages/:id/deliveries", s.deliveries),
		on("GET", "/api/sync", s.sync),
		reads("/api/me", s.me),
		on("PATCH", "/api/me", s.changeMe),
		reads("/api/users", s.listUsers),
		{method: "POST", path: "/api/render", handle: s.render, harmless: true},
		on("POST", "/api/session", s.openSession),
		on("DELETE", "/api/session", s.closeSession),
		on("POST", "/api/admin/refresh", s.refreshAdmin),
		on("GET", "/healthz", s.healthz),
		on("GET", "/readyz", s.readyz),
		on("GET", "/openapi.json", s.paced(s.contract)),
		on("GET", "/", s.paced(s.page)),
		on("GET", "/console/:file", s.paced(s.page)),
		on("GET", "/docs", s.paced(s.docs)),
		on("GET", "/docs/:page", s.paced(s.docs)),
		on("GET", "/llms.txt", s.paced(s.llms)),
		on("GET", "/openclaw/plugin.tgz", s.paced(s.openclaw)),
		on("GET", "/metrics", s.paced(s.serveMetrics)),
	}
}

func on(method, path string, h handler) route { return route{method: method, path: path, handle: h} }

func reads(path string, h handler) route {
	return route{method: http.MethodGet, path: path, handle: h, reads: true}
}

// mux returns a handler that passes each request to its route.
func (s *Server) mux() http.Handler {
	rest := s.newMux(http.HandlerFunc(s.notFound))
	first := s.newMux(rest)
	for _, r := range s.routes() {
		m := first
		if besideWords(r.path) {
			m = rest
		}
		if r.lasts {
			m.Handler(r.method, r.path, s.adapt(r.noted(r.handle)))
			continue
		}
		h := s.adapt(r.noted(inTime(r.handle)))
		m.Handler(r.method, r.path, h)
		if r.method == http.MethodGet {
			m.Handler(http.MethodHead, r.path, h) // RFC 9110 §9.1; net/http drops the body
		}
	}
	return first
}

func (s *Server) newMux(notFound http.Handler) *httprouter.Router {
	m := httprouter.New()
	// No redirects: the client of a stream would follow a redirect unnoticed, or fail.
	m.RedirectTrailingSlash, m.RedirectFixedPath = false, false
	m.HandleOPTIONS = false
	m.NotFound = notFound
	m.MethodNotAllowed = http.HandlerFunc(s.methodNotAllowed)
	return m
}

// besideWords reports whether a path has a parameter where another path has a fixed word: /api/wakes/:id and
// /api/wakes/claim. One httprouter.Router cannot hold both, so a second one, asked after the first, holds the
// paths with the parameter.
func besideWords(path string) bool { return strings.HasPrefix(path, "/api/wakes/:id/") }

// A handler answers a request, or returns an error. If it returns an error, it must not have written
// anything.
type handler func(w http.ResponseWriter, r *http.Request) error

// noted wraps h so that the request's recorder knows the route, for metrics, limits and the log.
func (r route) noted(h handler) handler {
	return func(w http.ResponseWriter, req *http.Request) error {
		if rec := recorderOf(w); rec != nil {
			rec.route = r
		}
		return h(w, req)
	}
}

// inTime wraps h so that its context ends after requestTimeout. This limits how long a request waits for the
// database.
func inTime(h handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		defer cancel()
		return h(w, r.WithContext(ctx))
	}
}

const requestTimeout = 20 * time.Second

// adapt returns an http.Handler that answers an error of h with a problem. It logs the errors that are the
// server's fault, whose text the client must not see.
func (s *Server) adapt(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := h(w, r)
		if err == nil {
			return
		}
		p, told := asProblem(err)
		if !told && r.Context().Err() != nil {
			// The client has gone, or has closed its sending side, which net/http treats in the same way.
			// Abort the request: after a return without an answer, net/http would send an empty 200.
			panic(http.ErrAbortHandler)
		}
		if !told {
			s.logger.ErrorContext(r.Context(), "request failed", "request_id",
				w.Header().Get(web.RequestIDHeader), "error", err)
		}
		web.WriteProblem(w, p)
	})
}

func (s *Server) notFound(w http.ResponseWriter, _ *http.Request) {
	web.WriteProblem(w, web.NewProblem(http.StatusNotFound, "not_found", "there is nothing at this path"))
}

func (s *Server) methodNotAllowed(w http.ResponseWriter, _ *http.Request) {
	methods := strings.Split(w.Header().Get("Allow"), ", ")
	// httprouter adds OPTIONS, although HandleOPTIONS is off.
	methods = slices.DeleteFunc(methods, func(m string) bool { return m == http.MethodOptions })
	allow := strings.Join(methods, ", ")
	w.Header().Set("Allow", allow)
	web.WriteProblem(w, web.NewProblem(http.StatusMethodNotAllowed, "method_not_allowed",
		"this path takes %s", allow))
}
