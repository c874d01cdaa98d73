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

// A Refusal is an answer that is no stream, or a stream's end for good. Its texts are the server's, quoted.
type Refusal struct {
	Status       int    // 401 also where the token has ended, with the stream; 0: the server wants no return
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

// passes reports whether a later try may well succeed: the fault is the server's, or one of the moment.
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

// accept makes a stream's body fit to be read by r3labs, which does not close it after an error.
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
		if b, err := io.ReadAll(io.LimitReader(answer.Body, 64<<10)); err == nil && json.Unmarshal(b, &told) == nil {
			r.Code, r.Detail = told.Code, told.Detail
		}
	case answer.StatusCode == http.StatusOK:
		r.Detail = "this is " + kind + " and no stream; is the URL right?"
	case err == nil && answer.StatusCode/100 == 3:
		to.RawQuery = ""
		r.Detail = "it leads to " + strings.TrimSuffix(to.Redacted(), "/api/stream") + ", where no token is taken; is that the right URL?"
	}
	return r
}

// parseRetryAfter reads both forms of RFC 9110 §10.2.3. A date counts from the answer's own Date: the clock
// here may be another one.
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

// seconds is 0 for what is no number, and no more than it takes to be bounded.
func seconds(s string) time.Duration {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0
	}
	return time.Duration(n) * time.Second
}
