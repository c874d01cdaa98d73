package remote

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

// A Refusal is an answer that is not what was asked for, or the final end of a stream. Error quotes the texts
// of the server, so they are safe on a terminal.
type Refusal struct {
	// 401 also if the token ended during a stream; NoStatus: the server ended a stream
	Status       int
	Code, Detail string        // either may be empty
	After        time.Duration // Retry-After
}

// NoStatus is the status of a Refusal that ended a stream: the server asks not to reconnect.
const NoStatus = 0

func (r *Refusal) Error() string {
	said := "the server ends the stream"
	switch {
	case r.Status == http.StatusUnauthorized:
		said = "the server does not accept the token"
	case r.Status == http.StatusForbidden:
		said = "the server does not allow it (403)"
	case r.Status != NoStatus:
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

// Passes reports whether a retry may succeed: the fault is the server's, or it is temporary.
func (r *Refusal) Passes() bool {
	switch r.Status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return r.Status >= http.StatusInternalServerError
}

// RetryAfter returns how long to wait after err at least. It returns 0 unless err is a Refusal that says it.
func RetryAfter(err error) time.Duration {
	if r, ok := errors.AsType[*Refusal](err); ok {
		return r.After
	}
	return 0
}

// ReadRefusal reads an error answer, of which it reads 64 KiB at most. It does not close the body. A text
// that is not problem+json is not ours, so ReadRefusal does not pass it on.
func ReadRefusal(answer *http.Response) *Refusal {
	r := &Refusal{Status: answer.StatusCode, After: parseRetryAfter(answer.Header)}
	if kind, _, _ := mime.ParseMediaType(
		answer.Header.Get("Content-Type"),
	); kind == "application/problem+json" {
		var told struct{ Code, Detail string }
		b, err := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
		if err == nil && json.Unmarshal(b, &told) == nil {
			r.Code = told.Code
			r.Detail = told.Detail
		}
		return r
	}
	if to, err := answer.Location(); err == nil && answer.StatusCode/100 == 3 {
		to.RawQuery = ""
		base, _, _ := strings.Cut(to.Redacted(), "/api/")
		r.Detail = "it redirects to " + base + ", but no token is sent there; is that the right URL?"
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
