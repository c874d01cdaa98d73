package handlers

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"fabric-guild/events"
)

// stream opens the caller's stream: GET /api/stream.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) error {
	id, err := s.caller(w, r)
	if err != nil {
		return err
	}
	q, err := query(r, "lastEventId", "echo", "wakeup", "types", "channels", "snapshot", "padding", "heartbeat")
	if err != nil {
		return err
	}
	opts, err := s.options(q, id)
	if err != nil {
		return err
	}
	if opts.Snapshot, err = flag(q, "snapshot"); err != nil {
		return err
	}
	if opts.Beats, err = flag(q, "heartbeat"); err != nil {
		return err
	}
	if opts.Padding, err = number(q, "padding", 0, 0, events.MaxPadding); err != nil {
		return err
	}
	opts.Lines = prefersLines(r)
	if d := lifetime(s.streamMaxAge); d > 0 {
		opts.Rotates = time.Now().Add(d)
	}
	h := w.Header()
	free, err := s.places.take(s.proxies.client(r))
	if err != nil {
		return err
	}
	opts.Ended = free
	raw := s.raw && r.ProtoMajor == 1
	if raw {
		log := s.streamEnded(r, h.Get(requestIDHeader))
		opts.Ended = func() {
			free()
			log()
		}
	}
	// The header wins: a browser that comes back sends it along with the URL that it was first given.
	name, last := "Last-Event-ID", r.Header.Get("Last-Event-ID")
	if last == "" {
		name, last = "lastEventId", q.Get("lastEventId")
	}
	var session *events.Session
	err = s.from(r.Context(), name, last, &opts, func() (err error) {
		session, err = s.router.Open(opts)
		return err
	})
	if err != nil {
		free()
		return err
	}
	h.Set("Content-Type", "text/event-stream")
	if opts.Lines {
		h.Set("Content-Type", "application/x-ndjson")
	}
	h.Add("Vary", "Accept")
	h.Set("Cache-Control", "no-cache, no-transform")
	h.Set("X-Accel-Buffering", "no") // nginx would hold everything back
	if raw {
		return events.ServeRaw(w, session)
	}
	s.r3labs.Serve(w, r, session)
	return nil
}

// options are what a stream and a poll have in common.
func (s *Server) options(q url.Values, id Identity) (opts events.Options, err error) {
	opts = events.Options{User: id.UserID, Expires: id.Expires, Revoked: func() bool { return s.authority.Revoked(context.Background(), id) }}
	opts.Filter, err = filter(q, id)
	return opts, err
}

// lifetime is how long a stream may last of an age: 0 is for ever. Those that began together, after a deploy,
// end spread over half of it.
func lifetime(most time.Duration) time.Duration {
	if most == 0 {
		return 0
	}
	return most - rand.N(most/2+1)
}

// from decides where a stream begins, and opens it: after the cursor that is in the parameter or header of
// that name, if there is one. One that was checked while the database came back in another epoch is checked
// again.
func (s *Server) from(ctx context.Context, name, cursor string, opts *events.Options, open func() error) (err error) {
	for range 3 {
		if err = s.resume(ctx, name, cursor, opts); err != nil {
			return err
		}
		if err = open(); !errors.Is(err, events.ErrNewEpoch) {
			return err
		}
	}
	return err
}

func (s *Server) resume(ctx context.Context, name, cursor string, opts *events.Options) error {
	opts.Resume, opts.Reset = nil, ""
	if cursor == "" {
		return nil
	}
	c, err := events.ParseCursor(cursor)
	if err != nil {
		p := malformed(fieldError{name, err.Error()})
		p.Code = "cursor_malformed"
		return p
	}
	position := s.router.Position()
	if opts.Reset, err = s.db.CheckCursor(ctx, c, position); err != nil {
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
	start, client := time.Now(), s.proxies.client(r)
	path := s.basePath + "/api/stream" // and nothing of the request, which is to be forgotten
	return func() {
		s.logger.Info("request", "request_id", requestID, "client", client, "method", http.MethodGet, "path", path,
			"status", http.StatusOK, "duration_ms", time.Since(start).Milliseconds())
	}
}

// sync answers the caller's channels, exact as of the cursor: a stream that resumes there misses nothing.
func (s *Server) sync(w http.ResponseWriter, r *http.Request) error {
	id, err := s.caller(w, r)
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
