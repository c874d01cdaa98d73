package handlers

import (
	"context"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"fabric-guild/events"
	"fabric-guild/events/live"
	"fabric-guild/events/transport"
	"fabric-guild/handlers/auth"
	"fabric-guild/handlers/edge"
	"fabric-guild/handlers/web"
)

// stream answers GET /api/stream: it opens the caller's stream. On a taken-over connection the stream
// outlives this call. Otherwise stream blocks until the stream ends.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) error {
	id, err := s.caller(w, r)
	if err != nil {
		return err
	}
	if err := s.openRates.Take(w.Header(), id.UserID, 1, time.Now()); err != nil {
		return err
	}
	q, err := web.Query(r, "lastEventId", "echo", "wakeup", "types", "channels", "snapshot", "padding",
		"heartbeat", "activity")
	if err != nil {
		return err
	}
	h := w.Header()
	l := &listener{
		server: s, id: id, from: s.proxies.Client(r), began: time.Now(),
		request: h.Get(web.RequestIDHeader),
	}
	opts, err := l.streamOptions(r, q)
	if err != nil {
		return err
	}
	if opts.Resume == nil || opts.Snapshot { // a stream that only goes on reads no snapshot
		if err := s.work.Await(r.Context(), id.UserID); err != nil {
			return err
		}
	}
	if err := s.places.Take(l.from); err != nil {
		return err
	}
	l.carried = edge.CarryStream(r.Context())
	s.sessions.Join(id.Session, l)
	raw := s.raw && r.ProtoMajor == 1
	if opts.Ended = l.leave; raw {
		opts.Ended = l.ended
	}
	session, err := s.router.Open(r.Context(), opts)
	if err != nil {
		l.leave()
		return err
	}
	l.opened(session)
	h.Set("Content-Type", "text/event-stream")
	if opts.Format.Lines {
		h.Set("Content-Type", "application/x-ndjson")
	}
	h.Add("Vary", "Accept")
	h.Set("Cache-Control", "no-cache, no-transform")
	h.Set("X-Accel-Buffering", "no") // otherwise nginx buffers the events
	if raw {
		return transport.ServeRaw(w, session)
	}
	s.r3labs.Serve(w, r, session)
	return nil
}

// A listener is the client of a stream or a poll. It keeps the parts of the request that are needed until the
// stream or the poll ends.
type listener struct {
	server  *Server
	id      auth.Identity
	from    netip.Addr
	began   time.Time
	request string // the id of the request
	carried func() // tells the connection that it no longer carries the stream

	stream atomic.Pointer[live.Session] // nil: the stream is not open yet, or this is a poll
}

// streamOptions returns the options of a stream. The error is a *web.Problem.
func (l *listener) streamOptions(r *http.Request, q url.Values) (live.Options, error) {
	opts, err := l.options(q)
	if err != nil {
		return opts, err
	}
	if opts.Snapshot, err = web.Bool(q, "snapshot"); err != nil {
		return opts, err
	}
	opts.Reads = true
	if opts.Activity, err = web.Bool(q, "activity"); err != nil {
		return opts, err
	}
	if opts.Format.Beats, err = web.Bool(q, "heartbeat"); err != nil {
		return opts, err
	}
	if opts.Format.Padding, err = web.Int(q, "padding", 0, 0, events.MaxPadding); err != nil {
		return opts, err
	}
	opts.Format.Lines = web.PrefersLines(r)
	if d := lifetime(l.server.streamMaxAge); d > 0 {
		opts.Rotates = time.Now().Add(d)
	}
	// The header wins: when a browser reconnects, it sends the current header, but still the first URL.
	name, last := "Last-Event-ID", r.Header.Get("Last-Event-ID")
	if last == "" {
		name, last = "lastEventId", q.Get("lastEventId")
	}
	opts.Resume, err = resume(name, last)
	return opts, err
}

// options returns the options that streams and polls have in common. The error is a *web.Problem.
func (l *listener) options(q url.Values) (opts live.Options, err error) {
	opts = live.Options{User: l.id.UserID, Expires: l.id.Expires, Revoked: l.revoked}
	opts.Await = func(ctx context.Context) error { return l.server.work.Await(ctx, l.id.UserID) }
	opts.Worked = func(took time.Duration) { l.server.work.Charge(l.id.UserID, took) }
	opts.Filter, err = filter(q, l.id)
	return opts, err
}

// revoked reports whether the stream must end, because its token was revoked. It may block on the authority.
func (l *listener) revoked() bool { return l.server.authority.Revoked(context.Background(), l.id) }

// leave gives back the listener's place and forgets the listener. It must be called once.
func (l *listener) leave() {
	l.server.sessions.Part(l.id.Session, l)
	l.server.places.Leave(l.from)
	l.carried()
}

// opened stores the stream. It ends the stream if the cookie session was closed while the stream was opening.
func (l *listener) opened(s *live.Session) {
	l.stream.Store(s)
	if l.server.sessions.IsClosed(l.id.Session) {
		l.Revoke()
	}
}

// Revoke ends the stream because its cookie session was closed. It does nothing if the stream is not open
// yet.
func (l *listener) Revoke() {
	if s := l.stream.Load(); s != nil {
		s.Close(events.ClosedTokenRevoked, false)
	}
}

// ended is leave for a stream that has outlived its handler. It also logs the request, because logRequests
// has not.
func (l *listener) ended() {
	l.leave()
	l.server.logger.Info("request", "request_id", l.request, "client", l.from, "method", http.MethodGet,
		"path", l.server.basePath+"/api/stream",
		"status", http.StatusOK, "duration_ms", time.Since(l.began).Milliseconds())
}

// lifetime picks a random duration in [most/2, most], so that streams that were opened together, as after a
// deploy, do not end together. It returns 0, which means no limit, if most is 0.
func lifetime(most time.Duration) time.Duration {
	if most == 0 {
		return 0
	}
	return most - rand.N(most/2+1)
}

// resume parses cursor. It returns nil if cursor is empty: then the stream begins with a snapshot. name is
// the parameter or header that held the cursor. The error is a *web.Problem.
func resume(name, cursor string) (*events.Cursor, error) {
	if cursor == "" {
		return nil, nil
	}
	return parseCursor(name, cursor)
}

// parseCursor parses the cursor in a field, a parameter or a header. The error is a *web.Problem.
func parseCursor(name, cursor string) (*events.Cursor, error) {
	c, err := events.ParseCursor(cursor)
	if err != nil {
		p := web.Malformed(web.FieldError{Field: name, Detail: err.Error()})
		p.Code = "cursor_malformed"
		return nil, p
	}
	return &c, nil
}

// filter reads the parameters that choose which events the client gets. The error is a *web.Problem.
func filter(q url.Values, id auth.Identity) (f events.Filter, err error) {
	f.Guilds = id.Guilds
	if f.Echo, err = web.Bool(q, "echo"); err != nil {
		return f, err
	}
	if f.Wakeup, err = web.Bool(q, "wakeup"); err != nil {
		return f, err
	}
	for _, name := range web.Strings(q, "types") {
		if !slices.Contains(events.EventNames, name) && name != events.ChannelRead {
			all := append(slices.Clone(events.EventNames), events.ChannelRead)
			return f, web.Malformed(
				web.FieldError{Field: "types", Detail: "must be a list of " + events.Join(all)},
			)
		}
		f.Types = append(f.Types, name)
	}
	var ok bool
	if f.Channels, ok = web.ParseIDs(web.Strings(q, "channels")); !ok {
		return f, web.Malformed(web.FieldError{
			Field: "channels", Detail: "must be a list of channel ids",
		})
	}
	return f, nil
}
