package handlers

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"fabric-guild/db"
	"fabric-guild/events"
)

// A problem is an error that its reader can act on: application/problem+json (RFC 9457). code is stable,
// detail is for people.
type problem struct {
	Title     string       `json:"title"`
	Status    int          `json:"status"`
	Code      string       `json:"code"`
	Detail    string       `json:"detail"`
	RequestID string       `json:"requestId"`
	Errors    []fieldError `json:"errors,omitempty"`

	retryAfter int // seconds
}

// A fieldError says what is wrong with one field or parameter.
type fieldError struct {
	Field  string `json:"field"`
	Detail string `json:"detail"`
}

func (p *problem) Error() string { return p.Code + ": " + p.Detail }

func newProblem(status int, code, format string, args ...any) *problem {
	return &problem{Title: http.StatusText(status), Status: status, Code: code, Detail: fmt.Sprintf(format, args...)}
}

func malformed(fields ...fieldError) *problem {
	return ofFields(http.StatusBadRequest, "malformed", fields)
}

func refused(fields ...fieldError) *problem {
	return ofFields(http.StatusUnprocessableEntity, "invalid", fields)
}

func ofFields(status int, code string, fields []fieldError) *problem {
	p := newProblem(status, code, "%s: %s", fields[0].Field, fields[0].Detail)
	p.Errors = fields
	return p
}

func channelNotFound() *problem {
	return newProblem(http.StatusNotFound, "channel_not_found", "there is no such channel, or none that you may see")
}

// asProblem turns any error of a handler into the problem that its client is told. ok is false for a fault
// of ours, whose detail goes to the log only.
func asProblem(err error) (p *problem, ok bool) {
	var memberships *db.TooManyMemberships
	var joins *db.TooManyJoins
	switch {
	case errors.As(err, &p):
		return p, true
	case errors.As(err, &memberships):
		return newProblem(http.StatusUnprocessableEntity, "too_many_memberships",
			"%s is in %d channels, which is the most; %s must leave one first", memberships.User, db.MaxMemberships, memberships.User), true
	case errors.As(err, &joins):
		p = newProblem(http.StatusTooManyRequests, "too_many_joins",
			"this user joined this channel %d times within 24 hours, which is the most; try again after the time in Retry-After", db.MaxJoins)
		p.retryAfter = int(joins.Wait.Seconds()) + 1
		return p, true
	case errors.Is(err, db.ErrUnavailable):
		p = newProblem(http.StatusServiceUnavailable, "unavailable",
			"the database cannot be reached; whether the change was made is not known, so look before you repeat it")
		p.retryAfter = 1
		return p, false
	case errors.Is(err, events.ErrNewEpoch):
		p = newProblem(http.StatusServiceUnavailable, "unavailable", "the database has just come back; try again")
		p.retryAfter = 1
		return p, true
	case errors.Is(err, events.ErrUnread):
		p = newProblem(http.StatusServiceUnavailable, "unavailable", "the log cannot be read at the moment; ask again from the same cursor")
		p.retryAfter = 1
		return p, true
	case errors.Is(err, events.ErrClosed):
		p = newProblem(http.StatusServiceUnavailable, "shutting_down", "this server is about to stop; come back to another")
		p.retryAfter = 1
		return p, true
	case errors.Is(err, events.ErrTooManyStreams):
		p = newProblem(http.StatusTooManyRequests, "too_many_streams",
			"you hold %d streams already, and one carries everything; close one", events.MaxStreams)
		p.retryAfter = 5
		return p, true
	}
	return newProblem(http.StatusInternalServerError, "internal", "something went wrong here; the request id finds it in the log"), false
}

func writeProblem(w http.ResponseWriter, p *problem) {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="fabric-guild"`)
	}
	told := *p
	told.RequestID = h.Get(requestIDHeader)
	w.WriteHeader(p.Status)
	body, _ := encode(told) // of strings, which always encode
	_, _ = w.Write(body)    // the client may be gone
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	b, err := encode(v)
	if err != nil {
		return err
	}
	return write(w, status, b)
}

func write(w http.ResponseWriter, status int, b []byte) error {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	_, _ = w.Write(b) // the client may be gone
	return nil
}
