package handlers

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"fabric-guild/events"
)

// stream opens the caller's stream: GET /api/stream.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) error {
	id, err := s.caller(r)
	if err != nil {
		return err
	}
	q, err := query(r, "lastEventId", "echo", "wakeup", "types", "channels", "snapshot", "heartbeat")
	if err != nil {
		return err
	}
	opts := events.Options{User: id.UserID, Expires: id.Expires, Revoked: func() bool { return s.authority.Revoked(context.Background(), id) }}
	if opts.Snapshot, err = flag(q, "snapshot"); err != nil {
		return err
	}
	if opts.Beats, err = flag(q, "heartbeat"); err != nil {
		return err
	}
	if opts.Filter, err = filter(q, id); err != nil {
		return err
	}
	h := w.Header()
	raw := s.raw && r.ProtoMajor == 1
	if raw {
		opts.Ended = s.streamEnded(r, h.Get(requestIDHeader))
	}
	session, err := s.open(r, q.Get("lastEventId"), opts)
	if err != nil {
		return err
	}
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache, no-transform")
	h.Set("X-Accel-Buffering", "no") // nginx would hold everything back
	if raw {
		return events.ServeRaw(w, session)
	}
	s.r3labs.Serve(w, r, session)
	return nil
}

// open reserves a stream that begins where the client asks for. A cursor that was checked while the database
// came back in another epoch is checked again.
func (s *Server) open(r *http.Request, param string, opts events.Options) (session *events.Session, err error) {
	for range 3 {
		if err := s.resume(r, param, &opts); err != nil {
			return nil, err
		}
		if session, err = s.router.Open(opts); !errors.Is(err, events.ErrNewEpoch) {
			return session, err
		}
	}
	return nil, err
}

// resume decides where the stream begins. The header wins: a browser that comes back sends it along with
// the URL that it was first given.
func (s *Server) resume(r *http.Request, param string, opts *events.Options) error {
	opts.Resume, opts.Reset = nil, ""
	name, last := "Last-Event-ID", r.Header.Get("Last-Event-ID")
	if last == "" {
		name, last = "lastEventId", param
	}
	if last == "" {
		return nil
	}
	c, err := events.ParseCursor(last)
	if err != nil {
		p := malformed(fieldError{name, err.Error()})
		p.Code = "cursor_malformed"
		return p
	}
	position := s.router.Position()
	if opts.Reset, err = s.db.CheckCursor(r.Context(), c, position); err != nil {
		return err
	}
	opts.Checked = position.Epoch
	if opts.Reset == "" {
		opts.Resume = &c
	}
	return nil
}

func filter(q url.Values, id Identity) (f events.Filter, err error) {
	f.Guilds = id.Guilds
	if f.Echo, err = flag(q, "echo"); err != nil {
		return f, err
	}
	if f.Wakeup, err = flag(q, "wakeup"); err != nil {
		return f, err
	}
	for _, name := range list(q, "types") {
		if !slices.Contains(events.Kinds, name) {
			return f, malformed(fieldError{"types", "is to be a list of " + strings.Join(events.Kinds, ", ")})
		}
		f.Types = append(f.Types, name)
	}
	for _, name := range list(q, "channels") {
		channel, ok := parseID(name)
		if !ok {
			return f, malformed(fieldError{"channels", "is to be a list of channel ids"})
		}
		f.Channels = append(f.Channels, channel)
	}
	return f, nil
}

// streamEnded writes the line of a request whose stream lives on after its handler.
func (s *Server) streamEnded(r *http.Request, requestID string) func() {
	start, path := time.Now(), s.basePath+r.URL.Path
	return func() {
		s.logger.Info("request", "request_id", requestID, "method", http.MethodGet, "path", path,
			"status", http.StatusOK, "duration_ms", time.Since(start).Milliseconds())
	}
}

// sync answers the caller's channels, exact as of the cursor: a stream that resumes there misses nothing.
func (s *Server) sync(w http.ResponseWriter, r *http.Request) error {
	id, err := s.caller(r)
	if err != nil {
		return err
	}
	if _, err := query(r); err != nil {
		return err
	}
	at, err := s.db.Head(r.Context())
	if err != nil {
		return err
	}
	memberships, err := s.db.Snapshot(r.Context(), []string{id.UserID}, at.Seq, at.Seq)
	if err != nil {
		return err
	}
	f := events.Filter{Guilds: id.Guilds}
	return writeJSON(w, http.StatusOK, struct {
		Cursor   events.Cursor    `json:"cursor"`
		UserID   string           `json:"userId"`
		Channels []events.Channel `json:"channels"`
	}{at, id.UserID, f.OpenChannels(memberships[id.UserID], at.Seq)})
}
