package handlers

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"fabric-guild/db"
	"fabric-guild/events"
	"fabric-guild/handlers/web"

	"github.com/google/uuid"
	"github.com/julienschmidt/httprouter"
)

// extendAnswer tells how a wake stands after its lease was extended.
type extendAnswer struct {
	LeaseUntil events.Time `json:"leaseUntil"`
	LeaseMS    int64       `json:"leaseMs"`
	Newer      int         `json:"newer"`
	Gone       []uuid.UUID `json:"gone"`
	Stop       bool        `json:"stop"`
}

func extended(x db.Extended) *extendAnswer {
	return &extendAnswer{
		x.LeaseUntil, x.Lease.Milliseconds(), x.Newer, append([]uuid.UUID{}, x.Gone...),
		x.Stop,
	}
}

// wakeProblem turns the errors of the wake queue into problems.
func (s *Server) wakeProblem(err error) error {
	switch {
	case errors.Is(err, db.ErrWakeLost):
		s.wakes.Fenced.Add(1)
		return web.NewProblem(http.StatusConflict, "wake_lost",
			"this wake has ended, or somebody else has claimed it since; drop the work, and claim "+
				"the next wake")
	case errors.Is(err, db.ErrLeaseLimit):
		return web.NewProblem(http.StatusConflict, "lease_limit",
			"a wake is leased for an hour at most; a final reply still counts until somebody else "+
				"claims the wake")
	case errors.Is(err, db.ErrNothingToStop):
		return web.NewProblem(http.StatusConflict, "nothing_to_stop",
			"nobody works for this user in this channel")
	}
	return err
}

func wakeNotFound() *web.Problem {
	return web.NewProblem(http.StatusNotFound, "wake_not_found",
		"there is no such wake, or it is not yours")
}

// beginWake is what every request about one wake begins with.
func (s *Server) beginWake(w http.ResponseWriter, r *http.Request) (db.WakeRef, error) {
	id, err := s.caller(w, r)
	if err != nil {
		return db.WakeRef{}, err
	}
	if _, err := web.Query(r); err != nil {
		return db.WakeRef{}, err
	}
	wake, ok := web.ParseID(httprouter.ParamsFromContext(r.Context()).ByName("id"))
	if !ok {
		return db.WakeRef{}, wakeNotFound()
	}
	return db.WakeRef{User: id.UserID, Guilds: id.Guilds, ID: wake}, nil
}

// extendWake extends the lease of a wake: POST /api/wakes/:id/extend.
func (s *Server) extendWake(w http.ResponseWriter, r *http.Request) error {
	ref, err := s.beginWake(w, r)
	if err != nil {
		return err
	}
	body, err := web.Decode[struct {
		LeaseSeconds *int    `json:"leaseSeconds"`
		Status       *string `json:"status"`
	}](w, r)
	if err != nil {
		return err
	}
	var wrong []web.FieldError
	lease := whole(&wrong, "leaseSeconds", body.LeaseSeconds, defaultLease, minLease, maxLease)
	shortText(&wrong, "status", body.Status)
	if len(wrong) > 0 {
		return web.Malformed(wrong...)
	}
	x, err := s.db.ExtendWake(r.Context(), ref, time.Duration(lease)*time.Second, body.Status)
	if err != nil {
		return s.wakeProblem(err)
	}
	return web.WriteJSON(w, http.StatusOK, extended(x))
}

// ackWake ends a wake without a message: POST /api/wakes/:id/ack.
func (s *Server) ackWake(w http.ResponseWriter, r *http.Request) error {
	ref, err := s.beginWake(w, r)
	if err != nil {
		return err
	}
	body, err := web.Decode[struct {
		Outcome *string `json:"outcome"`
		Note    *string `json:"note"`
	}](w, r)
	if err != nil {
		return err
	}
	var wrong []web.FieldError
	ack := db.Ack{Note: shortText(&wrong, "note", body.Note)}
	if body.Outcome != nil {
		switch *body.Outcome {
		case "done":
		case "declined":
			ack.Declined = true
		default:
			wrong = append(wrong, web.FieldError{Field: "outcome", Detail: "must be done or declined"})
		}
	}
	if len(wrong) > 0 {
		return web.Malformed(wrong...)
	}
	if err := s.db.AckWake(r.Context(), ref, ack); err != nil {
		return s.wakeProblem(err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// maxDelay bounds how long a nack may put a wake off, in seconds.
const maxDelay = 86400

// nackWake gives a wake back: POST /api/wakes/:id/nack.
func (s *Server) nackWake(w http.ResponseWriter, r *http.Request) error {
	ref, err := s.beginWake(w, r)
	if err != nil {
		return err
	}
	body, err := web.Decode[struct {
		Error        *string `json:"error"`
		DelaySeconds *int    `json:"delaySeconds"`
	}](w, r)
	if err != nil {
		return err
	}
	var wrong []web.FieldError
	nack := db.Nack{Error: shortText(&wrong, "error", body.Error)}
	delay := time.Duration(whole(&wrong, "delaySeconds", body.DelaySeconds, 0, 0, maxDelay)) * time.Second
	if len(wrong) > 0 {
		return web.Malformed(wrong...)
	}
	if body.DelaySeconds != nil {
		nack.Delay = &delay
	}
	a, err := s.db.NackWake(r.Context(), ref, nack, 0.8+0.4*rand.Float64())
	if err != nil {
		return s.wakeProblem(err)
	}
	if a.Bury {
		if _, err := s.db.BuryWake(r.Context(), a.Part); err != nil {
			return err
		}
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// retryWake makes a dead wake due again: POST /api/wakes/dead/:id/retry.
func (s *Server) retryWake(w http.ResponseWriter, r *http.Request) error {
	ref, err := s.beginWake(w, r)
	if err != nil {
		return err
	}
	if err := s.db.RetryWake(r.Context(), ref, s.router.Position()); err != nil {
		if errors.Is(err, db.ErrNotFound) {
			err = wakeNotFound()
		}
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// hideWake takes a dead wake off the list: DELETE /api/wakes/dead/:id.
func (s *Server) hideWake(w http.ResponseWriter, r *http.Request) error {
	ref, err := s.beginWake(w, r)
	if err != nil {
		return err
	}
	if err := s.db.HideWake(r.Context(), ref); err != nil {
		if errors.Is(err, db.ErrNotFound) {
			err = wakeNotFound()
		}
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// closeQueue removes the caller's queue: DELETE /api/wakes. The queue has the work of all guilds, so a token
// for some guilds must not close it.
func (s *Server) closeQueue(w http.ResponseWriter, r *http.Request) error {
	id, err := s.caller(w, r)
	if err != nil {
		return err
	}
	if _, err := web.Query(r); err != nil {
		return err
	}
	if id.Guilds != nil {
		return web.NewProblem(http.StatusForbidden, "guild_forbidden",
			"closing the queue ends the work in all guilds, but this token is for some guilds; use a "+
				"token for all guilds")
	}
	if err := s.db.CloseQueue(r.Context(), id.UserID); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// stopWork asks a user's worker in a channel to stop: POST /api/channels/:id/stop.
func (s *Server) stopWork(w http.ResponseWriter, r *http.Request) error {
	id, channel, _, err := s.begin(w, r)
	if err != nil {
		return err
	}
	body, err := web.Decode[struct {
		UserID string `json:"userId"`
	}](w, r)
	if err != nil {
		return err
	}
	if wrong := checkID("userId", body.UserID); wrong != nil {
		return web.Malformed(wrong...)
	}
	if _, err := ofMember(r.Context(), s.db.Queries, id, channel); err != nil {
		return err
	}
	err = s.db.InTx(r.Context(), func(ctx context.Context, tx db.Tx) error {
		return tx.StopWake(ctx, channel, body.UserID, id.UserID)
	})
	if err != nil {
		return s.wakeProblem(err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
