package web

import (
	"net/http"
	"strings"

	"github.com/google/uuid"
)

// RequestIDHeader names the header that carries the id of a request, in the request and in its answer.
const RequestIDHeader = "X-Request-Id"

// RequestID returns the id that the client gave the request, or a new id if there is none that can be used.
func RequestID(r *http.Request) string {
	if id := r.Header.Get(RequestIDHeader); validRequestID(id) {
		return id
	}
	return uuid.NewString()
}

// validRequestID reports whether a client's request id can be used: it must be safe in a header and in the
// log.
func validRequestID(id string) bool {
	return id != "" && len(id) <= 64 && !strings.ContainsFunc(id, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') &&
			!strings.ContainsRune("._-", c)
	})
}
