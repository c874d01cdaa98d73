package follow

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A Refusal is an answer that is no stream, or the final end of a stream. Error quotes the texts of the
// server, so they are safe on a terminal.
type Refusal struct {
	Status       int    // 401 also if the token ended during a stream; 0: the server asks not to reconnect
	Code, Detail string // either may be empty

	after time.Duration // Retry-After
}

const noStatus = 0

func (r *Refusal) Error() string {
	said := "the server ends the stream"
	switch {
	case r.Status == http.StatusUnauthorized:
		said = "the server does not accept the token"
	case r.Status == http.StatusForbidden:
		said = "the server does not allow it (403)"
	case r.Status != noStatus:
		said = strings.TrimSpace(fmt.Sprintf("the server answers %d %s", r.Status, http.StatusText(r.Status)))
	}
	if r.Code != "" {
		said += ", " + strings.Trim(strconv.Quote(r.Code), `"`)
	}
	if r.Detail != "" {
		said += ": " + strings.Trim(strconv.Quote(r.Detail), `"`)
	}
	return said
}

// passes reports whether a retry may succeed: the fault is the server's, or it is temporary.
func (r *Refusal) passes() bool {
	switch r.Status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return r.Status >= http.StatusInternalServerError
}

func retryAfter(err error) time.Duration {
	if r, ok := errors.AsType[*Refusal](err); ok {
		return r.after
	}
	return 0
}

// accept checks the answer. It wraps the body of a stream for r3labs. For any other answer it returns a
// *Refusal and closes the body, because r3labs does not close it after an error.
func (f *follower) accept(answer *http.Response, silent *time.Timer) error {
	kind, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	if answer.StatusCode == http.StatusOK && kind == "text/event-stream" {
		answer.Body = &body{ReadCloser: answer.Body, silent: silent}
		return nil
	}
	defer func() { _ = answer.Body.Close() }()
	r := &Refusal{Status: answer.StatusCode, after: parseRetryAfter(answer.Header)}
	switch to, err := answer.Location(); {
	case kind == "application/problem+json":
		var told struct{ Code, Detail string }
		b, err := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
		if err == nil && json.Unmarshal(b, &told) == nil {
			r.Code = told.Code
			r.Detail = told.Detail
		}
	case answer.StatusCode == http.StatusOK:
		r.Detail = "this is " + kind + ", not a stream; is the URL right?"
	case err == nil && answer.StatusCode/100 == 3:
		to.RawQuery = ""
		r.Detail = "it redirects to " + strings.TrimSuffix(to.Redacted(), "/api/stream") +
			", but no token is sent there; is that the right URL?"
	}
	return r
}

// parseRetryAfter reads both forms of a Retry-After header (RFC 9110 §10.2.3), and returns 0 without a valid
// one. It compares a date with the Date header of the same answer, because the local clock may differ from
// the server's.
func parseRetryAfter(h http.Header) time.Duration {
	s := h.Get("Retry-After")
	at, err := http.ParseTime(s)
	if err != nil {
		return seconds(s)
	}
	if now, err := http.ParseTime(h.Get("Date")); err == nil {
		return max(0, at.Sub(now))
	}
	return max(0, time.Until(at))
}

// seconds parses a number of seconds. It returns 0 if s is not a number of at most 32 bits. The caller limits
// the result.
func seconds(s string) time.Duration {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0
	}
	return time.Duration(n) * time.Second
}
