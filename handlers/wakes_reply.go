package handlers

import (
	"context"
	"errors"
	"net/http"
	"time"

	"fabric-guild/db"
	"fabric-guild/handlers/auth"
	"fabric-guild/handlers/web"
)

// keepLease is how long a post with keepWake extends its wake.
const keepLease = defaultLease * time.Second

// A replying is the wake that a post answers, or keeps.
type replying struct {
	ref  db.WakeRef
	keep bool
	done *db.Reply // set by the post's transaction
	left bool      // set where an answer that is given again has ended the wake: its row has more
}

// replying reads the wake of a post; nil: it has none.
func (b *postBody) replying(id auth.Identity) (*replying, error) {
	if b.WakeID == nil {
		if b.KeepWake {
			return nil, web.Refused(web.FieldError{Field: "keepWake", Detail: "goes with wakeId only"})
		}
		return nil, nil
	}
	wake, ok := web.ParseID(*b.WakeID)
	if !ok {
		return nil, web.Refused(web.FieldError{Field: "wakeId", Detail: "must be the id of a wake"})
	}
	return &replying{ref: db.WakeRef{User: id.UserID, Guilds: id.Guilds, ID: wake}, keep: b.KeepWake}, nil
}

// postReply stores a reply and ends its wake, or does neither. With keepWake it extends the lease instead.
//
// A request that comes again gets its answer again: by its Idempotency-Key, or without one by its wake, which only
// one message can have ended.
func (s *Server) postReply(w http.ResponseWriter, r *http.Request, id auth.Identity, key *db.RequestKey, m db.NewMessage, reply *replying) error {
	again := func(ctx context.Context, tx db.Tx, earlier db.Answer) (err error) {
		if !reply.keep && earlier.Message != nil {
			reply.left, err = tx.ReplayedReply(ctx, reply.ref, m.ChannelID, *earlier.Message)
		}
		return err
	}
	err := s.onceOr(w, r, key, again, func(ctx context.Context, tx db.Tx) (int, any, error) {
		post, err := s.postIn(ctx, tx, id, m, reply)
		a := answerTo(post)
		if reply.done != nil && reply.keep {
			a.Wake = extended(reply.done.Kept)
		}
		return http.StatusCreated, a, err
	})
	if errors.Is(err, db.ErrWakeLost) && key == nil && !reply.keep {
		stored, found := s.db.StoredReply(r.Context(), id.UserID, m.ChannelID, reply.ref.ID)
		if found == nil {
			w.Header().Set("Idempotency-Replayed", "true")
			return web.WriteJSON(w, http.StatusCreated, answerTo(stored))
		}
		if !errors.Is(found, db.ErrNotFound) {
			return found
		}
	}
	if reply.left || reply.done != nil && reply.done.Left {
		s.desks.ring(id.UserID)
	}
	if err == nil && !reply.keep {
		s.wakes.Replies.Add(1)
	}
	return s.wakeProblem(err)
}
