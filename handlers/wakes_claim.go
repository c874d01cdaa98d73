package handlers

import (
	"context"
	"errors"
	"net/http"
	"time"

	"fabric-guild/db"
	"fabric-guild/events"
	"fabric-guild/handlers/auth"
	"fabric-guild/handlers/web"
)

type claimBody struct {
	WaitSeconds   *int      `json:"waitSeconds"`
	LeaseSeconds  *int      `json:"leaseSeconds"`
	Limit         *int      `json:"limit"`
	Context       *int      `json:"context"`
	ChannelIDs    *[]string `json:"channelIds"`
	MaxAgeSeconds *int      `json:"maxAgeSeconds"`
	Since         *string   `json:"since"`
	Worker        *string   `json:"worker"`
	Instance      *string   `json:"instance"`
}

// A claimAnswer is the answer to a claim; nil: there is no work.
type claimAnswer struct{ wake *wakeItem }

// AppendJSON appends the answer.
func (a claimAnswer) AppendJSON(b []byte) []byte {
	if a.wake == nil {
		return append(b, `{"wake":null}`...)
	}
	return append(a.wake.AppendJSON(append(b, `{"wake":`...)), '}')
}

// Bounds of the fields of a claim.
const (
	defaultLease, minLease, maxLease = 60, 5, 600
	maxClaimWait                     = 60
	// from here on a wait ends earlyEnd sooner, so that proxies do not cut the answer
	longWait                   = 10
	earlyEnd                   = 5
	defaultContext, maxContext = 20, 100
	maxWakeMessages            = 100
)

// claimWake hands out the caller's next wake: POST /api/wakes/claim.
func (s *Server) claimWake(w http.ResponseWriter, r *http.Request) error {
	id, err := s.caller(w, r)
	if err != nil {
		return err
	}
	if _, err := web.Query(r); err != nil {
		return err
	}
	body, err := web.Decode[claimBody](w, r)
	if err != nil {
		return err
	}
	claim, wait, err := body.claim(id)
	if err != nil {
		return err
	}
	var since *events.Cursor // nil: a new queue begins at this server's position
	if body.Since != nil {
		if since, err = parseCursor("since", *body.Since); err != nil {
			return err
		}
	}
	c, err := s.enter(claim, since, wait, s.proxies.Client(r))
	if err != nil {
		return err
	}
	wake, err := c.wait(r.Context(), s.raw && r.ProtoMajor == 1)
	if errors.Is(err, errSettled) {
		return c.park(w)
	}
	defer c.leave()
	return c.answer(r.Context(), w, wake, err)
}

// claim checks the body, and returns the claim and how long it waits. The error is a *web.Problem.
func (b claimBody) claim(id auth.Identity) (claim db.WakeClaim, wait time.Duration, err error) {
	claim = db.WakeClaim{User: id.UserID, Guilds: id.Guilds, Create: true}
	var wrong []web.FieldError
	seconds := whole(&wrong, "waitSeconds", b.WaitSeconds, 0, 0, maxClaimWait)
	lease := whole(&wrong, "leaseSeconds", b.LeaseSeconds, defaultLease, minLease, maxLease)
	claim.Lease = time.Duration(lease) * time.Second
	claim.Limit = whole(&wrong, "limit", b.Limit, maxWakeMessages, 1, maxWakeMessages)
	claim.Around = whole(&wrong, "context", b.Context, defaultContext, 0, maxContext)
	claim.MaxAge = time.Duration(whole(&wrong, "maxAgeSeconds", b.MaxAgeSeconds, 0, 1, 1<<30)) * time.Second
	claim.Worker = label(&wrong, "worker", b.Worker)
	claim.Instance = label(&wrong, "instance", b.Instance)
	if b.ChannelIDs != nil {
		// An empty list is wrong: a client whose list has become empty must not get work from all channels.
		var ok bool
		if claim.Channels, ok = web.ParseIDs(*b.ChannelIDs); !ok || len(claim.Channels) == 0 {
			wrong = append(wrong, web.FieldError{
				Field: "channelIds", Detail: "must be a list of one or more channel ids",
			})
		}
	}
	if len(wrong) > 0 {
		return claim, 0, web.Malformed(wrong...)
	}
	if claim.Instance != "" && claim.Worker == "" {
		return claim, 0, web.Refused(web.FieldError{
			Field: "instance", Detail: "needs worker: it names one run of the program that worker names",
		})
	}
	if seconds > longWait {
		seconds -= earlyEnd
	}
	return claim, time.Duration(seconds) * time.Second, nil
}

// answer answers a claim. If it returns an error, it has written nothing, and nobody has the wake.
func (c *claiming) answer(ctx context.Context, w http.ResponseWriter, wake *db.Wake, err error) error {
	if err != nil {
		return err
	}
	if wake == nil {
		return web.WriteJSON(w, http.StatusOK, claimAnswer{})
	}
	s := c.server
	if err = ctx.Err(); err == nil {
		s.wakes.Claims.Add(1)
		if wake.Expired {
			s.wakes.Expired.Add(1)
		}
		err = web.WriteJSON(w, http.StatusOK, claimAnswer{shownItem(c.claim.User, wake)})
	}
	if err != nil {
		s.unclaim(ctx, db.WakeRef{User: c.claim.User, Guilds: c.claim.Guilds, ID: wake.ID})
	}
	return err
}

// unclaim gives a wake back that its client did not get.
func (s *Server) unclaim(ctx context.Context, ref db.WakeRef) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer cancel()
	if err := s.db.UnclaimWake(ctx, ref); err != nil {
		s.logger.WarnContext(ctx, "a wake whose client has gone was not given back; it is handed out again "+
			"when its lease ends",
			"error", err)
	}
}
