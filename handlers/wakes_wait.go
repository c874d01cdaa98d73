package handlers

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"fabric-guild/db"
	"fabric-guild/events"
	"fabric-guild/handlers/web"
)

// A claiming is a claim in progress. First it waits in its handler. A claim that waits for long is parked.
type claiming struct {
	server  *Server
	desk    *desk
	claim   db.WakeClaim
	since   *events.Cursor // where a new queue begins; nil: at this server's position
	from    netip.Addr     // whose place it takes while it waits
	end     time.Time      // of the wait
	catchUp time.Time      // until then it goes on with a scan that is behind
	placed  bool           // it has a place
	looked  bool           // it has looked for work
}

// settled is how long a claim waits in its handler. Most claims get work before, or their client has gone.
const settled = time.Second

// errSettled says that a claim has waited for settled and may be parked.
var errSettled = errors.New("the claim waits for long")

// enter begins a claim that waits for up to wait. leave must follow. A claim from an address that waits takes
// a place, as a stream does.
func (s *Server) enter(
	claim db.WakeClaim, since *events.Cursor, wait time.Duration, from netip.Addr,
) (*claiming, error) {
	d, err := s.desks.enter(claim.User)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return &claiming{
		server: s, desk: d, claim: claim, since: since, from: from, end: now.Add(wait),
		catchUp: now.Add(max(wait, time.Second)),
	}, nil
}

// leave ends the claim at its desk, and gives its place back.
func (c *claiming) leave() {
	if c.placed {
		c.server.places.Leave(c.from)
	}
	c.desk.leave()
}

// wait waits until a wake is due, and claims it; nil if none became due in time. If the claim may be parked,
// the error is errSettled once it has waited for long.
func (c *claiming) wait(ctx context.Context, parks bool) (*db.Wake, error) {
	settles := time.Now().Add(settled)
	for {
		wake, rung, pause, err := c.look(ctx)
		if wake != nil || err != nil || pause <= 0 {
			return wake, err
		}
		if parks {
			pause = min(pause, max(time.Millisecond, time.Until(settles)))
		}
		timer := time.NewTimer(pause)
		select {
		case <-rung:
		case <-timer.C:
			if parks && time.Now().After(settles) {
				return nil, errSettled
			}
			c.timeUp()
		case <-c.server.desks.closed:
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
		timer.Stop()
	}
}

// timeUp rings if the claim's wait is not over: then a pause or a lease has ended, which is for all who wait
// here.
func (c *claiming) timeUp() {
	if time.Now().Before(c.end) {
		c.desk.ring(false)
	}
}

// look tries to claim once, unless there is nothing new. If it returns neither a wake nor an error, the claim
// must look again after pause, or when rung is closed; without a pause its time is over.
func (c *claiming) look(
	ctx context.Context,
) (wake *db.Wake, rung <-chan struct{}, pause time.Duration, err error) {
	if time.Until(c.end) > 0 {
		select {
		case <-c.server.desks.closed:
			return nil, nil, 0, nil // the server drains
		default:
		}
		if err := c.desk.watch(); err != nil {
			return nil, nil, 0, err
		}
	}
	rings, rung, skip, next := c.desk.look(!c.looked)
	c.looked = true
	if skip && c.claim.Instance == "" {
		c.claim.Create = false // another claim has found the queue empty, so there is one
	}
	if !skip || c.claim.Create { // what others did not find, a new instance may take over
		wake, next, err = c.try(ctx, rings)
		if errors.Is(err, db.ErrNotFound) {
			return nil, rung, 0, nil // the queue was closed while the claim waited
		}
		if wake != nil || err != nil {
			return wake, rung, 0, err
		}
	}
	pause = time.Until(c.end)
	if pause <= 0 {
		return nil, rung, 0, nil
	}
	if !c.placed {
		if err := c.server.places.Take(c.from); err != nil {
			return nil, rung, 0, err
		}
		c.placed = true
	}
	if next > 0 {
		pause = min(pause, next, c.server.desks.every)
	}
	return nil, rung, pause, nil
}

// try claims once, in turn with the user's other claims. next is when a pause or lease ends. Only the first
// try creates the queue and takes over. A later one returns db.ErrNotFound if the queue was closed meanwhile.
func (c *claiming) try(ctx context.Context, rings int) (*db.Wake, time.Duration, error) {
	d := c.desk
	if err := d.take(ctx); err != nil {
		return nil, 0, err
	}
	defer d.give()
	for {
		c.claim.At = c.server.router.Position() // before any statement below
		attempt := c.claim
		attempt.Create = false
		first := c.claim.Create
		attempt.Rung = d.takeMessage()
		if !attempt.Rung { // otherwise something is due almost certainly
			due, next, err := c.due(ctx, &attempt)
			if err != nil {
				return nil, 0, err
			}
			if !due {
				if !attempt.Create && unfiltered(c.claim) {
					d.empty(rings, next)
				}
				return nil, next, nil
			}
		}
		a, err := c.server.db.Claim(ctx, attempt)
		if errors.Is(err, db.ErrNotFound) && first {
			continue // look whether to create the queue
		}
		if err != nil {
			return nil, 0, err
		}
		c.claim.Create = false
		for _, part := range a.Dead {
			left, err := c.server.db.BuryWake(ctx, part)
			if err != nil {
				return nil, 0, err
			}
			a.Again = a.Again || left
		}
		switch {
		case a.Wake != nil:
			return a.Wake, 0, nil
		case a.Again && ctx.Err() == nil && time.Now().Before(c.catchUp):
			continue
		case a.Again:
			return nil, time.Millisecond, ctx.Err()
		case unfiltered(c.claim):
			d.empty(rings, a.Next)
		}
		return nil, a.Next, ctx.Err()
	}
}

// due looks, without a lock, whether the claim can find work, and sets in attempt what only the first try
// does. If it cannot, next is when a pause or lease ends, or when to look again.
func (c *claiming) due(ctx context.Context, attempt *db.WakeClaim) (due bool, next time.Duration, err error) {
	first := c.claim.Create
	due, next, err = c.server.db.Due(ctx, c.claim.User, c.claim.At)
	switch {
	case errors.Is(err, db.ErrNotFound) && first:
		attempt.Create = true
		var ahead bool
		attempt.Since, ahead, err = c.server.startOf(ctx, c.since, c.claim.At)
		return !ahead, c.server.desks.every, err
	case err != nil:
		return false, 0, err
	}
	c.claim.Create = false
	return due || first && c.claim.Instance != "", next, nil // the first may take over
}

// unfiltered reports whether a claim takes any wake of its user, so that what it does not find nobody finds.
func unfiltered(c db.WakeClaim) bool { return len(c.Channels) == 0 && c.Guilds == nil }

// startOf returns where a claim at a position begins a new queue. ahead says that this server has yet to read
// the log up to there. The error is a *web.Problem if a stream could not continue from since.
func (s *Server) startOf(
	ctx context.Context, since *events.Cursor, at events.Cursor,
) (seq int64, ahead bool, err error) {
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
