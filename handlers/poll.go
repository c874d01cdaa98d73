package handlers

import (
	"encoding/json"
	"net/http"
	"time"

	"fabric-guild/events"
)

// maxWait is how long a poll may wait, in seconds.
const maxWait = 60

type polledItem struct {
	ID    string          `json:"id,omitempty"` // absent: it does not move a cursor
	Event string          `json:"event"`
	Data  json.RawMessage `json:"data"`
}

type pollReset struct {
	Reason string `json:"reason"`
}

type pollAnswer struct {
	Items  []polledItem `json:"items"`
	Cursor string       `json:"cursor"`
	Reset  *pollReset   `json:"reset,omitempty"`
}

// poll answers what the caller's stream would show next: GET /api/events.
func (s *Server) poll(w http.ResponseWriter, r *http.Request) error {
	id, err := s.caller(w, r)
	if err != nil {
		return err
	}
	q, err := query(r, "after", "limit", "wait", "echo", "wakeup", "types", "channels")
	if err != nil {
		return err
	}
	l := &listener{server: s, id: id, from: s.proxies.client(r)}
	opts, err := l.options(q)
	if err != nil {
		return err
	}
	most, err := limit(q)
	if err != nil {
		return err
	}
	wait, err := number(q, "wait", 0, 0, maxWait)
	if err != nil {
		return err
	}
	var polled events.Polled
	err = s.from(r.Context(), "after", q.Get("after"), &opts, func() error {
		if err := s.places.take(l.from); err != nil {
			return err
		}
		l.carried = carry(r.Context())
		defer l.leave() // before the answer, for the next poll comes right after it
		var err error
		polled, err = s.router.Poll(r.Context(), opts, most, time.Duration(wait)*time.Second)
		return err
	})
	if err != nil {
		return err
	}
	if s.sessions.isClosed(id.session) { // while it waited
		return errTokenInvalid
	}
	a := pollAnswer{Items: make([]polledItem, len(polled.Frames)), Cursor: polled.Cursor}
	for i, f := range polled.Frames {
		a.Items[i] = polledItem{f.ID, f.Event, f.Data}
	}
	if polled.Reset != "" {
		a.Reset = &pollReset{polled.Reset}
	}
	return writeJSON(w, http.StatusOK, a)
}
