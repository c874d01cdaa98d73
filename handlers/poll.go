package handlers

import (
	"context"
	"errors"
	"net/http"
	"time"

	"fabric-guild/events/live"
	"fabric-guild/handlers/auth"
	"fabric-guild/handlers/edge"
	"fabric-guild/handlers/web"
)

// maxWait is how long a poll may wait for events, in seconds.
const maxWait = 60

// poll answers GET /api/events with the events that the caller's stream would show next. It blocks until
// there are events, or until the requested wait has passed.
func (s *Server) poll(w http.ResponseWriter, r *http.Request) error {
	id, err := s.caller(w, r)
	if err != nil {
		return err
	}
	q, err := web.Query(r, "after", "limit", "wait", "echo", "wakeup", "types", "channels")
	if err != nil {
		return err
	}
	l := &listener{server: s, id: id, from: s.proxies.Client(r)}
	opts, err := l.options(q)
	if err != nil {
		return err
	}
	if opts.Resume, err = resume("after", q.Get("after")); err != nil {
		return err
	}
	most, err := web.PageLimit(q)
	if err != nil {
		return err
	}
	wait, err := web.Int(q, "wait", 0, 0, maxWait)
	if err != nil {
		return err
	}
	if q.Get("after") == "" {
		if err := s.openRates.Take(w.Header(), id.UserID, 1, time.Now()); err != nil {
			return err
		}
	}
	leave, err := s.polling.Enter(r.Context(), id.UserID)
	if err != nil {
		return err
	}
	defer leave() // only after the client has taken the answer
	if opts.Resume == nil {
		if err := s.work.Await(r.Context(), id.UserID); err != nil {
			return err
		}
	}
	polled, err := l.poll(r, opts, most, time.Duration(wait)*time.Second)
	if err != nil {
		return err
	}
	if s.sessions.IsClosed(id.Session) { // the session may have been closed while the poll waited
		return auth.ErrTokenInvalid
	}
	return writePolled(w, polled)
}

// poll waits for events, as a stream of the user. When it returns, l has given back its place. A poll that
// may read no snapshot yet ends with that refusal: unlike a stream, it has not been answered.
func (l *listener) poll(
	r *http.Request, opts live.Options, most int, wait time.Duration,
) (live.Polled, error) {
	if err := l.server.places.Take(l.from); err != nil {
		return live.Polled{}, err
	}
	l.carried = edge.CarryStream(r.Context())
	defer l.leave() // before the answer is written: the client's next poll comes right after it
	ctx, refuse := context.WithCancelCause(r.Context())
	defer refuse(nil)
	await := opts.Await
	opts.Await = func(ctx context.Context) error {
		err := await(ctx)
		if refused, ok := errors.AsType[*web.Problem](err); ok {
			refuse(refused)
		}
		return err
	}
	polled, err := l.server.router.Poll(ctx, opts, most, wait)
	if refused, ok := errors.AsType[*web.Problem](context.Cause(ctx)); ok && err != nil {
		err = refused
	}
	return polled, err
}

// writePolled answers a poll. The ring and other streams share the frames, and there may be many frames. So
// writePolled writes each frame as it is, and never copies them into one buffer.
func writePolled(w http.ResponseWriter, polled live.Polled) error {
	parts := [][]byte{[]byte(`{"items":[`)}
	before := `{`
	for _, f := range polled.Frames {
		if f.ID != "" {
			before += `"id":"` + f.ID + `",`
		}
		parts = append(parts, []byte(before+`"event":"`+f.Event+`","data":`), f.Data)
		before = `},{`
	}
	end := `],`
	if len(polled.Frames) > 0 {
		end = `}],`
	}
	end += `"cursor":"` + polled.Cursor + `"`
	if polled.Reset != "" {
		end += `,"reset":{"reason":"` + polled.Reset + `"}`
	}
	return web.Write(w, http.StatusOK, append(parts, []byte(end+"}\n"))...)
}
