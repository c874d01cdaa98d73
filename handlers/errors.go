package handlers

import (
	"errors"
	"net/http"

	"fabric-guild/db"
	"fabric-guild/events/live"
	"fabric-guild/handlers/web"
)

func channelNotFound() *web.Problem {
	return web.NewProblem(http.StatusNotFound, "channel_not_found",
		"there is no such channel, or it is hidden from you")
}

// asProblem turns any error of a handler into the problem for the client. ok is false if the error is the
// server's fault: the caller must log it, because the problem does not show its text.
func asProblem(err error) (p *web.Problem, ok bool) {
	var memberships *db.TooManyMemberships
	var joins *db.TooManyJoins
	switch {
	case errors.As(err, &p):
		return p, true
	case errors.As(err, &memberships):
		return web.NewProblem(http.StatusUnprocessableEntity, "too_many_memberships",
			"%s is in %d channels, which is the maximum; %s must leave one first", memberships.User,
			db.MaxMemberships, memberships.User), true
	case errors.As(err, &joins):
		p = web.NewProblem(http.StatusTooManyRequests, "too_many_joins",
			"this user joined this channel %d times within 24 hours, which is the maximum; try again after "+
				"the time in Retry-After", db.MaxJoins)
		p.RetryAfter = int(joins.Wait.Seconds()) + 1
		return p, true
	case errors.Is(err, db.ErrUnavailable):
		p = web.NewProblem(http.StatusServiceUnavailable, "unavailable",
			"the database cannot be reached; a change may have been made, so check before you repeat it")
		p.RetryAfter = 1
		return p, false
	case errors.Is(err, live.ErrUnread):
		p = web.NewProblem(http.StatusServiceUnavailable, "unavailable",
			"the event log cannot be read; ask again with the same cursor")
		p.RetryAfter = 1
		return p, true
	case errors.Is(err, live.ErrClosed):
		p = web.NewProblem(http.StatusServiceUnavailable, "shutting_down",
			"this server is about to stop; try another server, or try again soon")
		p.RetryAfter = 1
		return p, true
	case errors.Is(err, live.ErrTooManyStreams):
		p = web.NewProblem(http.StatusTooManyRequests, "too_many_streams",
			"you have %d streams already; one stream carries everything, so close the others",
			live.MaxStreams)
		p.RetryAfter = 5
		return p, true
	}
	return web.NewProblem(http.StatusInternalServerError, "internal",
		"the server has a fault; search its log for this request id"), false
}
