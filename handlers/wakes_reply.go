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

// replying reads the wake of a post; nil: it has none.
func (b *postBody) replying() (*db.Reply, error) {
	if b.WakeID == nil {
		if b.KeepWake {
			return nil, web.Refused(web.FieldError{Field: "keepWake", Detail: "needs wakeId"})
		}
		return nil, nil
	}
	wake, ok := web.ParseID(*b.WakeID)
	if !ok {
		return nil, web.Refused(web.FieldError{Field: "wakeId", Detail: "must be the id of a wake"})
	}
	return &db.Reply{Wake: wake, Keep: b.KeepWake, Lease: keepLease}, nil
}

// hiddenWake turns the error of a reply to a channel that the caller may not see into db.ErrWakeLost: a wake
// in such a channel does not exist for the caller.
func hiddenWake(reply *db.Reply, err error) error {
	p, ok := errors.AsType[*web.Problem](err)
	if ok && reply != nil && p.Code == "channel_not_found" {
		return db.ErrWakeLost
	}
	return err
}

// postReply stores a reply and ends its wake, or does neither. With keepWake it extends the lease instead.
// postIn posts in a transaction.
//
// A repeated request gets the same answer: by its Idempotency-Key, or without a key by its wake, which only
// one message can have ended.
func (s *Server) postReply(
	w http.ResponseWriter, r *http.Request, id auth.Identity, key *db.RequestKey, m db.NewMessage,
	postIn func(context.Context, db.Tx) (db.Post, error),
) error {
	var post db.Post
	err := error(db.ErrRefused)
	if key == nil {
		post, err = s.db.Post(r.Context(), m)
	}
	ref := db.WakeRef{User: id.UserID, Guilds: id.Guilds, ID: m.Reply.Wake}
	var ended bool // an answer that is given again has ended this request's wake
	var left bool
	again := func(ctx context.Context, tx db.Tx, earlier db.Answer) (err error) {
		ended, left = false, false
		if !m.Reply.Keep && earlier.Message != nil {
			ended, left, err = tx.ReplayedReply(ctx, ref, m.ChannelID, *earlier.Message)
		}
		return err
	}
	if errors.Is(err, db.ErrRefused) { // in a channel that takes turns too
		err = s.onceOr(w, r, key,
			again, func(ctx context.Context, tx db.Tx) (status int, answer any, err error) {
				if post, err = postIn(ctx, tx); err != nil {
					return 0, nil, hiddenWake(m.Reply, err)
				}
				a, err := s.replyAnswer(ctx, tx.Queries, m, post)
				return http.StatusCreated, a, err
			})
	} else if err == nil {
		var a postAnswer
		if a, err = s.replyAnswer(r.Context(), s.db.Queries, m, post); err == nil {
			err = web.WriteJSON(w, http.StatusCreated, a)
		}
	}
	if errors.Is(err, db.ErrWakeLost) {
		elsewhere, failed := s.db.WakeElsewhere(r.Context(), ref, m.ChannelID)
		if failed != nil {
			return failed
		}
		if elsewhere {
			return web.Refused(web.FieldError{
				Field:  "wakeId",
				Detail: "is the id of a wake in another channel",
			})
		}
	}
	if errors.Is(err, db.ErrWakeLost) && key == nil && !m.Reply.Keep {
		stored, found := s.db.StoredReply(r.Context(), ref, m.ChannelID)
		if found == nil {
			w.Header().Set("Idempotency-Replayed", "true")
			a, err := s.answer(r.Context(), s.db.Queries, m, stored)
			if err != nil {
				return err
			}
			return web.WriteJSON(w, http.StatusCreated, a)
		}
		if !errors.Is(found, db.ErrNotFound) {
			return found
		}
	}
	if post.Wake != nil && !m.Reply.Keep { // a ring for nothing is harmless: the claims look
		ended = ended || err == nil
		left = left || post.Wake.More
	}
	if ended {
		s.wakes.Replies.Add(1)
	}
	if left {
		s.db.RingWakes(id.UserID)
	}
	return s.wakeProblem(err)
}

// replyAnswer is answer. For a wake that stays it adds what extendWake would answer.
func (s *Server) replyAnswer(
	ctx context.Context, q db.Queries, m db.NewMessage, post db.Post,
) (postAnswer, error) {
	a, err := s.answer(ctx, q, m, post)
	if err == nil && m.Reply.Keep {
		kept, err := q.Kept(ctx, m, post.Wake)
		if err != nil {
			return a, err
		}
		a.Wake = extended(kept)
	}
	return a, err
}
