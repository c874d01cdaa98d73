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
		return web.Refused(web.FieldError{
			Field:  "ifLast",
			Detail: "must be the id of a message of this channel that you may read",
		})
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
		"others have posted since that message; messages has the newest 20, newest first. Read them, "+
			"and decide again")
	newer := []*decidedMessage{}
	h := db.History{
		Channel: c.ID, User: id.UserID, All: c.History == "all", After: last.Seq,
		Limit: newerListed,
	}
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

// countFresh returns a function that counts a post with ifLast, once however often it is called. It must come
// after the look-up of an Idempotency-Key, because a repetition is not a new post, and before the channel's
// lock.
func (s *Server) countFresh(w http.ResponseWriter, m db.NewMessage) func() error {
	if m.IfLast == nil {
		return func() error { return nil }
	}
	return sync.OnceValue(func() error {
		return s.freshness.Take(w.Header(), freshKey(m.AuthorUserID, m.ChannelID), 1, time.Now())
	})
}

func freshKey(user string, channel uuid.UUID) string { return channel.String() + user }
