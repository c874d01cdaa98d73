package handlers_test

import (
	"io"
	"net/http"
	"net/url"
	"testing"
	"time"
)

// A problem as RFC 9457 and the contract have it.
type problem struct {
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

// wantProblem checks that an answer is an error.
func wantProblem(t *testing.T, a answer, status int, code string) (p problem) {
	t.Helper()
	if a.status != status {
		t.Errorf("got %v, want status %d", a, status)
		return p
	}
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("got Content-Type %q, want application/problem+json: %v", got, a)
		return p
	}
	if err := strictly(a.body, &p); err != nil {
		t.Errorf("%v: %v", a, err)
		return p
	}
	if p.Code != code || p.Status != status {
		t.Errorf("got %v, want code %q and the same status", a, code)
	}
	if p.Title == "" || p.Detail == "" || p.RequestID == "" || p.RequestID != a.header.Get("X-Request-Id") {
		t.Errorf("got %v, want a title, a detail and the request id of the header, %q", a, a.header.Get("X-Request-Id"))
	}
	if status == http.StatusUnauthorized && a.header.Get("WWW-Authenticate") == "" {
		t.Errorf("got no WWW-Authenticate with %v, want one", a)
	}
	if (status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable) && a.header.Get("Retry-After") == "" {
		t.Errorf("got no Retry-After with %v, want one", a)
	}
	return p
}

// refused sends a request that must be answered with a problem.
func (u *user) refused(t *testing.T, status int, code, method, path string, body any, headers ...string) problem {
	t.Helper()
	a, err := u.do(method, path, body, headers...)
	if err != nil {
		t.Error(err)
		return problem{}
	}
	return wantProblem(t, a, status, code)
}

// answer is what a stream's request got that is no stream.
func (s *stream) answer(t *testing.T) answer {
	t.Helper()
	if s.resp.StatusCode == http.StatusOK {
		return answer{status: http.StatusOK} // which has no end
	}
	b, err := io.ReadAll(s.resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{s.resp.StatusCode, s.resp.Header, b}
}

// isTime reports whether s is an instant as the wire has them.
func isTime(s string) bool {
	at, err := time.Parse("2006-01-02T15:04:05.000Z", s)
	return err == nil && time.Since(at).Abs() < time.Hour*48
}

func escape(s string) string { return url.QueryEscape(s) }
