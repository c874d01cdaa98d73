package web

import (
	"fmt"
	"net/http"
	"strconv"
	"unicode/utf8"
)

// A Problem is an error that the client can act on, sent as application/problem+json (RFC 9457). Programs may
// rely on Code, which does not change. Detail is for people, and its text may change.
type Problem struct {
	Title     string       `json:"title"`
	Status    int          `json:"status"`
	Code      string       `json:"code"`
	Detail    string       `json:"detail"`
	RequestID string       `json:"requestId"`
	Errors    []FieldError `json:"errors,omitempty"`

	// Messages is set with the code conversation_moved: a list of messages, as the history shows them.
	Messages any `json:"messages,omitempty"`

	RetryAfter int `json:"-"` // in seconds; 0: the answer has no Retry-After
}

// A FieldError says what is wrong with one field or parameter.
type FieldError struct {
	Field  string `json:"field"`
	Detail string `json:"detail"`
}

// Error implements error.
func (p *Problem) Error() string { return p.Code + ": " + p.Detail }

// NewProblem returns a problem. code must be one of ErrorCodes with this status. format and args make the
// detail, which says what the client can do.
func NewProblem(status int, code, format string, args ...any) *Problem {
	return &Problem{
		Title: http.StatusText(status), Status: status, Code: code,
		Detail: fmt.Sprintf(format, args...),
	}
}

// Malformed returns a 400 with the code malformed about fields, which must not be empty.
func Malformed(fields ...FieldError) *Problem {
	return ofFields(http.StatusBadRequest, "malformed", fields)
}

// Refused returns a 422 with the code invalid about fields, which must not be empty.
func Refused(fields ...FieldError) *Problem {
	return ofFields(http.StatusUnprocessableEntity, "invalid", fields)
}

// A problem repeats parts of the request, which may have 64 KiB of wrong names. These limits keep it short.
const (
	maxErrors    = 20
	maxFieldName = 100 // in bytes
)

func ofFields(status int, code string, fields []FieldError) *Problem {
	told := make([]FieldError, min(maxErrors, len(fields)))
	for i := range told {
		told[i] = FieldError{Cut(fields[i].Field, maxFieldName), fields[i].Detail}
	}
	p := NewProblem(status, code, "%s: %s", told[0].Field, told[0].Detail)
	if more := len(fields) - len(told); more > 0 {
		p.Detail += fmt.Sprintf("; errors lists %d, and there are %d more", len(told), more)
	}
	p.Errors = told
	return p
}

// Cut returns s, or its first most bytes and an ellipsis if s is longer. It returns fewer bytes if it would
// otherwise split a character.
func Cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most] + "…"
}

// WriteProblem answers a request with p. An Observer is told before the answer begins.
func WriteProblem(w http.ResponseWriter, p *Problem) {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	if p.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(p.RetryAfter))
	}
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="fabric-guild"`)
	}
	if o, ok := Find[Observer](w); ok {
		o.Answering(p.Code)
	}
	told := *p
	told.RequestID = h.Get(RequestIDHeader)
	w.WriteHeader(p.Status)
	body, _ := Encode(told) // strings and numbers always encode
	_, _ = w.Write(body)    // the client may be gone
}
