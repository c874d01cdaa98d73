package handlers

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"fabric-guild/db"
	"fabric-guild/handlers/auth"
	"fabric-guild/handlers/web"

	"github.com/google/uuid"
)

// newerListed is how many newer messages the answer conversation_moved shows.
const newerListed = 20

// moved turns the errors of a post with ifLast into problems. The answer for a conversation that has moved
// shows what the author has not read.
func (s *Server) moved(ctx context.Context, id auth.Identity, m db.NewMessage, err error) error {
	switch {
	case errors.Is(err, db.ErrNotReadable):
		return web.Refused(web.FieldError{Field: "ifLast", Detail: "must be the id of a message of this channel that you may read"})
	case !errors.Is(err, db.ErrMoved):
		return err
	}
	c, err := ofMember(ctx, s.db.Queries, id, m.ChannelID)
	if err != nil {
		return err
	}
	last, err := s.db.Message(ctx, *m.IfLast, id.UserID)
	if err != nil {
		return err
	}
	p := web.NewProblem(http.StatusConflict, "conversation_moved",
		"others have posted since that message; messages has the newest first. Read them, and decide again")
	newer := []decidedMessage{}
	h := db.History{Channel: c.ID, User: id.UserID, All: c.History == "all", After: last.Seq, Limit: newerListed}
	err = s.db.ListMessages(ctx, h, func(m db.StoredMessage) bool {
		newer = append(newer, decided(m, c, id.UserID))
		return true
	})
	p.Messages = newer
	if err != nil {
		return err
	}
	return p
}

// A freshness limits posts with ifLast to one per second for each user and channel: each takes the channel's
// lock from everybody else. The zero value is ready.
type freshness struct {
	mu    sync.Mutex
	last  map[freshKey]time.Time // within the last second, so the rate of posts bounds it
	swept time.Time
}

type freshKey struct {
	user    string
	channel uuid.UUID
}

const freshPause = time.Second

// take counts a post. The error is a *web.Problem.
func (f *freshness) take(user string, channel uuid.UUID, now time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now.Sub(f.swept) >= freshPause {
		for key, at := range f.last {
			if now.Sub(at) >= freshPause {
				delete(f.last, key)
			}
		}
		f.swept = now
	}
	key := freshKey{user, channel}
	if at, ok := f.last[key]; ok && now.Sub(at) < freshPause {
		p := web.NewProblem(http.StatusTooManyRequests, "rate_limited", "a user may post with ifLast once per second in a channel")
		p.RetryAfter = 1
		return p
	}
	if f.last == nil {
		f.last = map[freshKey]time.Time{}
	}
	f.last[key] = now
	return nil
}
