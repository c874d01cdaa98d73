package nodetest

import (
	"net/http"
	"net/url"
	"testing"
	"time"
)

// A Problem is the body of a refusal (RFC 9457).
type Problem struct {
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Code      string `json:"code"`
	Detail    string `json:"detail"`
	RequestID string `json:"requestId"`
	Errors    []struct {
		Field  string `json:"field"`
		Detail string `json:"detail"`
	} `json:"errors"`
	Messages []FullMessage `json:"messages"`
}

// WantProblem checks that an answer is a problem with this status and code.
func WantProblem(t *testing.T, a Answer, status int, code string) (p Problem) {
	t.Helper()
	if a.Status != status {
		t.Errorf("got %v, want status %d", a, status)
		return p
	}
	if got := a.Header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("got Content-Type %q, want application/problem+json: %v", got, a)
		return p
	}
	if err := Strictly(a.Body, &p); err != nil {
		t.Errorf("%v: %v", a, err)
		return p
	}
	if p.Code != code || p.Status != status {
		t.Errorf("got %v, want code %q and the same status", a, code)
	}
	if p.Title == "" || p.Detail == "" || p.RequestID == "" || p.RequestID != a.Header.Get("X-Request-Id") {
		t.Errorf("got %v, want a title, a detail and the request id of the header, %q", a,
			a.Header.Get("X-Request-Id"))
	}
	if status == http.StatusUnauthorized && a.Header.Get("WWW-Authenticate") == "" {
		t.Errorf("got no WWW-Authenticate with %v, want one", a)
	}
	if (status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable) &&
		a.Header.Get("Retry-After") == "" {
		t.Errorf("got no Retry-After with %v, want one", a)
	}
	return p
}

// Refused sends a request and checks that the answer is a problem.
func (u *User) Refused(
	t *testing.T, status int, code, method, path string, body any, headers ...string,
) Problem {
	t.Helper()
	a, err := u.Do(method, path, body, headers...)
	if err != nil {
		t.Error(err)
		return Problem{}
	}
	return WantProblem(t, a, status, code)
}

// IsTime reports whether s is a time in the format of the API, within two days of now.
func IsTime(s string) bool {
	at, err := time.Parse("2006-01-02T15:04:05.000Z", s)
	return err == nil && time.Since(at).Abs() < time.Hour*48
}

// Escape escapes s for a query.
func Escape(s string) string { return url.QueryEscape(s) }
