package handlers

import (
	"context"
	"errors"
	"net/http"
	"time"

	"fabric-guild/db"
	"fabric-guild/handlers/web"
)

type claimBody struct {
	WaitSeconds   *int     `json:"waitSeconds"`
	LeaseSeconds  *int     `json:"leaseSeconds"`
	Limit         *int     `json:"limit"`
	Context       *int     `json:"context"`
	ChannelIDs    []string `json:"channelIds"`
	MaxAgeSeconds *int     `json:"maxAgeSeconds"`
	Since         *string  `json:"since"`
	Worker        *string  `json:"worker"`
	Instance      *string  `json:"instance"`
}

type claimAnswer struct {
	Wake *wakeItem `json:"wake"`
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

// whole reads an optional number of a body.
func whole(wrong *[]web.FieldError, name string, given *int, absent, least, most int) int {
	switch {
	case given == nil:
		return absent
	case *given < least || *given > most:
		*wrong = append(*wrong, web.OutOfRange(name, least, most))
	}
	return *given
}

// label checks an optional name that is the client's own.
func label(wrong *[]web.FieldError, name string, given *string) string {
	if given == nil {
		return ""
	}
	*wrong = append(*wrong, checkID(name, *given)...)
	return *given
}

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
	claim := db.WakeClaim{User: id.UserID, Guilds: id.Guilds, Create: true}
	var wrong []web.FieldError
	wait := whole(&wrong, "waitSeconds", body.WaitSeconds, 0, 0, maxClaimWait)
	claim.Lease = time.Duration(whole(&wrong, "leaseSeconds", body.LeaseSeconds, defaultLease, minLease,
		maxLease)) * time.Second
	claim.Limit = whole(&wrong, "limit", body.Limit, maxWakeMessages, 1, maxWakeMessages)
	claim.Around = whole(&wrong, "context", body.Context, defaultContext, 0, maxContext)
	claim.MaxAge = time.Duration(whole(&wrong, "maxAgeSeconds", body.MaxAgeSeconds, 0, 1,
		1<<30)) * time.Second
	claim.Worker = label(&wrong, "worker", body.Worker)
	claim.Instance = label(&wrong, "instance", body.Instance)
	for _, name := range body.ChannelIDs {
		channel, ok := web.ParseID(name)
		if !ok {
			wrong = append(wrong, web.FieldError{
				Field: "channelIds", Detail: "must be a list of channel ids",
			})
			break
		}
		claim.Channels = append(claim.Channels, channel)
	}
	if len(wrong) > 0 {
		return web.Malformed(wrong...)
	}
	if claim.Instance != "" && claim.Worker == "" {
		return web.Refused(web.FieldError{
			Field: "instance", Detail: "needs worker: it names one run of the program that worker names",
		})
	}
	since, err := parseSince(body.Since)
	if err != nil {
		return err
	}
	if wait > longWait {
		wait -= earlyEnd
	}
	c, err := s.enter(claim, since, time.Duration(wait)*time.Second, s.proxies.Client(r))
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
