package handlers

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"unicode/utf8"

	"fabric-guild/db"
	"fabric-guild/events/live"
)

// A problem is an error that the client can act on, sent as application/problem+json (RFC 9457). Programs may
// rely on Code, which does not change. Detail is for people, and its text may change.
type problem struct {
	Title     string       `json:"title"`
	Status    int          `json:"status"`
	Code      string       `json:"code"`
	Detail    string       `json:"detail"`
	RequestID string       `json:"requestId"`
	Errors    []fieldError `json:"errors,omitempty"`

	retryAfter int // in seconds; 0: the answer has no Retry-After
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

// malformed returns a 400 with the code malformed about fields, which must not be empty.
func malformed(fields ...fieldError) *problem {
	return ofFields(http.StatusBadRequest, "malformed", fields)
}

// refused returns a 422 with the code invalid about fields, which must not be empty.
func refused(fields ...fieldError) *problem {
	return ofFields(http.StatusUnprocessableEntity, "invalid", fields)
}

// A problem repeats parts of the request, which may have 64 KiB of wrong names. These limits keep it short.
const (
	maxErrors    = 20
	maxFieldName = 100 // in bytes
)

func ofFields(status int, code string, fields []fieldError) *problem {
	told := make([]fieldError, min(maxErrors, len(fields)))
	for i := range told {
		told[i] = fieldError{cut(fields[i].Field, maxFieldName), fields[i].Detail}
	}
	p := newProblem(status, code, "%s: %s", told[0].Field, told[0].Detail)
	if more := len(fields) - len(told); more > 0 {
		p.Detail += fmt.Sprintf("; errors lists %d, and there are %d more", len(told), more)
	}
	p.Errors = told
	return p
}

// cut returns s, or its first most bytes and an ellipsis if s is longer. It returns fewer bytes if it would
// otherwise split a character.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most] + "…"
}

func channelNotFound() *problem {
	return newProblem(http.StatusNotFound, "channel_not_found", "there is no such channel, or none that you may see")
}

// asProblem turns any error of a handler into the problem for the client. ok is false if the error is the
// server's fault: the caller must log it, because the problem does not show its text.
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
	case errors.Is(err, live.ErrNewEpoch):
		p = newProblem(http.StatusServiceUnavailable, "unavailable", "the database has just come back; try again")
		p.retryAfter = 1
		return p, true
	case errors.Is(err, live.ErrUnread):
		p = newProblem(http.StatusServiceUnavailable, "unavailable", "the log cannot be read at the moment; ask again from the same cursor")
		p.retryAfter = 1
		return p, true
	case errors.Is(err, live.ErrClosed):
		p = newProblem(http.StatusServiceUnavailable, "shutting_down", "this server is about to stop; come back to another")
		p.retryAfter = 1
		return p, true
	case errors.Is(err, live.ErrTooManyStreams):
		p = newProblem(http.StatusTooManyRequests, "too_many_streams",
			"you hold %d streams already, and one carries everything; close one", live.MaxStreams)
		p.retryAfter = 5
		return p, true
	}
	return newProblem(http.StatusInternalServerError, "internal", "something went wrong here; the request id finds it in the log"), false
}

// writeProblem answers a request with p. The request gives up its place among the readers of the database.
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
	if rec := recorderOf(w); rec != nil {
		rec.code = p.Code
		rec.hasRead()
	}
	told := *p
	told.RequestID = h.Get(requestIDHeader)
	w.WriteHeader(p.Status)
	body, _ := encode(told) // strings and numbers always encode
	_, _ = w.Write(body)    // the client may be gone
}
