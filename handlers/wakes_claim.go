package handlers

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"fabric-guild/db"
	"fabric-guild/events"
	"fabric-guild/handlers/web"

	"github.com/google/uuid"
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

// A decidedMessage is a message with the decision that the stream had; without, where the stream skipped it.
type decidedMessage struct {
	events.Message
	Wakeup     *bool  `json:"wakeup,omitempty"`
	WakeReason string `json:"wakeReason,omitempty"`
}

type wakeItem struct {
	ID         uuid.UUID        `json:"id"`
	GuildID    string           `json:"guildId"`
	ChannelID  uuid.UUID        `json:"channelId"`
	Name       string           `json:"name"`
	XType      events.XType     `json:"xType"`
	Reason     string           `json:"reason"`
	Attempt    int              `json:"attempt"`
	LeaseUntil events.Time      `json:"leaseUntil"`
	LeaseMS    int64            `json:"leaseMs"`
	More       bool             `json:"more"`
	Last       *uuid.UUID       `json:"last"`
	Messages   []decidedMessage `json:"messages"`
	Context    []decidedMessage `json:"context"`
}

type claimAnswer struct {
	Wake *wakeItem `json:"wake"`
}

// Bounds of the fields of a claim.
const (
	defaultLease, minLease, maxLease = 60, 5, 600
	maxClaimWait                     = 60
	longWait                         = 10 // from here on a wait ends earlyEnd sooner, so that proxies do not cut the answer
	earlyEnd                         = 5
	defaultContext, maxContext       = 20, 100
	maxWakeMessages                  = 100
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
	claim.Lease = time.Duration(whole(&wrong, "leaseSeconds", body.LeaseSeconds, defaultLease, minLease, maxLease)) * time.Second
	claim.Limit = whole(&wrong, "limit", body.Limit, maxWakeMessages, 1, maxWakeMessages)
	claim.Around = whole(&wrong, "context", body.Context, defaultContext, 0, maxContext)
	claim.MaxAge = time.Duration(whole(&wrong, "maxAgeSeconds", body.MaxAgeSeconds, 0, 1, 1<<30)) * time.Second
	claim.Worker, claim.Instance = label(&wrong, "worker", body.Worker), label(&wrong, "instance", body.Instance)
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
			Field: "instance", Detail: "goes with worker: it is one run of the program that worker names",
		})
	}
	since, err := parseSince(body.Since)
	if err != nil {
		return err
	}
	if wait > longWait {
		wait -= earlyEnd
	}
	wake, err := s.nextWake(r.Context(), claim, since, time.Duration(wait)*time.Second, s.proxies.Client(r))
	if err != nil || wake == nil {
		if err == nil {
			err = web.WriteJSON(w, http.StatusOK, claimAnswer{})
		}
		return err
	}
	ref := db.WakeRef{User: id.UserID, Guilds: id.Guilds, ID: wake.ID}
	if err := r.Context().Err(); err != nil {
		s.unclaim(r.Context(), ref)
		return err
	}
	s.wakes.Claims.Add(1)
	if wake.Expired {
		s.wakes.Expired.Add(1)
	}
	if err = web.WriteJSON(w, http.StatusOK, claimAnswer{shownItem(id.UserID, wake)}); err != nil {
		s.unclaim(r.Context(), ref)
	}
	return err
}

// unclaim gives a wake back that its client did not get.
func (s *Server) unclaim(ctx context.Context, ref db.WakeRef) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer cancel()
	if err := s.db.UnclaimWake(ctx, ref); err != nil {
		s.logger.WarnContext(ctx, "a wake whose client has gone was not given back; it is handed out again when its lease ends",
			"error", err)
	}
}

// parseSince reads where a new queue begins. nil: at this server's position.
func parseSince(given *string) (*events.Cursor, error) {
	if given == nil {
		return nil, nil
	}
	c, err := events.ParseCursor(*given)
	if err != nil {
		p := web.Malformed(web.FieldError{Field: "since", Detail: err.Error()})
		p.Code = "cursor_malformed"
		return nil, p
	}
	return &c, nil
}

// startOf returns where a claim at a position begins a new queue. ahead says that this server has yet to read
// the log up to there. The error is a *problem if a stream would not honour since.
func (s *Server) startOf(ctx context.Context, since *events.Cursor, at events.Cursor) (seq int64, ahead bool, err error) {
	if since == nil {
		return at.Seq, false, nil
	}
	reset, err := s.db.CheckCursor(ctx, *since, at)
	if err == nil && reset != "" {
		err = web.Refused(web.FieldError{
			Field: "since", Detail: "is a cursor from which the server cannot continue: " + reset,
		})
	}
	return since.Seq, since.Seq > at.Seq, err
}

// nextWake waits until a wake is due, and claims it; nil if none became due in time. A claim from an address that
// waits takes a place, as a stream does.
func (s *Server) nextWake(ctx context.Context, claim db.WakeClaim, since *events.Cursor, wait time.Duration, from netip.Addr) (*db.Wake, error) {
	d, err := s.desks.enter(claim.User)
	if err != nil {
		return nil, err
	}
	defer d.leave()
	if wait > 0 {
		if err := d.watch(); err != nil {
			return nil, err
		}
	}
	parked := false
	end := time.Now().Add(wait)
	catchUp := time.Now().Add(max(wait, time.Second)) // until then a claim goes on with a scan that is behind
	for {
		rings, rung, skip, next := d.look()
		if !skip || claim.Create && claim.Instance != "" { // what others did not find, it may take over
			var wake *db.Wake
			wake, next, err = s.tryClaim(ctx, d, &claim, since, rings, catchUp)
			if errors.Is(err, db.ErrNotFound) {
				return nil, nil // the queue was closed while the claim waited
			}
			if wake != nil || err != nil {
				return wake, err
			}
		}
		left := time.Until(end)
		if left <= 0 {
			return nil, nil
		}
		if !parked {
			if err := s.places.Take(from); err != nil {
				return nil, err
			}
			defer s.places.Leave(from)
			parked = true
		}
		if next > 0 {
			left = min(left, next, s.desks.every)
		}
		timer := time.NewTimer(left)
		select {
		case <-rung:
		case <-timer.C:
			if time.Until(end) > 0 {
				d.ring() // the end of a pause or a lease is for all who wait here
			}
		case <-d.over():
			if err := d.watch(); err != nil {
				timer.Stop()
				return nil, err
			}
		case <-s.desks.closed:
			timer.Stop()
			return nil, nil
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
		timer.Stop()
	}
}

// tryClaim claims once, in turn with the user's other claims. next is when a pause or lease ends. Only the first
// try creates the queue and takes over. A later one returns db.ErrNotFound if the queue was closed meanwhile.
func (s *Server) tryClaim(
	ctx context.Context, d *desk, claim *db.WakeClaim, since *events.Cursor, rings int, catchUp time.Time,
) (*db.Wake, time.Duration, error) {
	if err := d.take(ctx); err != nil {
		return nil, 0, err
	}
	defer d.give()
	for {
		claim.At = s.router.Position() // before any statement below
		first := claim.Create
		create := false
		due, next, err := s.db.Due(ctx, claim.User, claim.At)
		switch {
		case errors.Is(err, db.ErrNotFound) && first:
			create = true
			var ahead bool
			claim.Since, ahead, err = s.startOf(ctx, since, claim.At)
			if err != nil || ahead {
				return nil, s.desks.every, err
			}
			due = true
		case err != nil:
			return nil, 0, err
		case first && claim.Instance != "":
			due = true // for the takeover
		}
		claim.Create = false
		if !due {
			if unfiltered(*claim) {
				d.empty(rings, next)
			}
			return nil, next, nil
		}
		claim.Create = create
		a, err := s.db.Claim(ctx, *claim)
		if err != nil {
			return nil, 0, err
		}
		claim.Create = false
		for _, part := range a.Dead {
			left, err := s.db.BuryWake(ctx, part)
			if err != nil {
				return nil, 0, err
			}
			a.Again = a.Again || left
		}
		switch {
		case a.Wake != nil:
			return a.Wake, 0, nil
		case a.Again && ctx.Err() == nil && time.Now().Before(catchUp):
			continue
		case a.Again:
			return nil, time.Millisecond, ctx.Err()
		case unfiltered(*claim):
			d.empty(rings, a.Next)
		}
		return nil, a.Next, ctx.Err()
	}
}

// unfiltered reports whether a claim takes any wake of its user, so that what it does not find nobody finds.
func unfiltered(c db.WakeClaim) bool { return len(c.Channels) == 0 && c.Guilds == nil }

// shownItem is what a worker gets of a wake: its messages, and those around them, as the history would show them.
func shownItem(user string, wake *db.Wake) *wakeItem {
	c := wake.Shown.Channel
	item := &wakeItem{
		ID: wake.ID, GuildID: c.GuildID, ChannelID: c.ID, Name: c.Name, XType: c.XType, Reason: wake.Reason.String(), Attempt: wake.Attempt,
		LeaseUntil: wake.LeaseUntil, LeaseMS: wake.Lease.Milliseconds(), More: wake.More, Last: wake.Shown.Last,
		Messages: []decidedMessage{}, Context: []decidedMessage{},
	}
	for _, m := range wake.Shown.Messages {
		item.Messages = append(item.Messages, decided(m, c, user))
	}
	for _, m := range slices.Backward(wake.Shown.Around) {
		item.Context = append(item.Context, decided(m, c, user))
	}
	return item
}

// decided is a message as a reader may see it, with the decision that the stream had.
func decided(m db.StoredMessage, c db.Channel, reader string) decidedMessage {
	facts := m.Facts()
	if m.OnList {
		facts.WakeList = []string{reader}
	}
	shown := decidedMessage{Message: asSeen(m, c)}
	outcome, reason := facts.Decide(reader)
	if outcome != events.Skip {
		shown.Wakeup, shown.WakeReason = new(outcome == events.Wake), reason.String()
	}
	return shown
}
