package web

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// The limits of a page of a list, in items.
const (
	defaultPageLimit = 50
	MaxPageLimit     = 200
)

// Query returns a request's query parameters. It refuses parameters that are not in allowed, and parameters
// that are given twice: the error is a *Problem. It always accepts the parameter "_", because scripts add it
// to bypass caches.
func Query(r *http.Request, allowed ...string) (url.Values, error) {
	if err := NoTokenInQuery(r); err != nil {
		return nil, err
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, NewProblem(http.StatusBadRequest, "malformed", "the query string cannot be read")
	}
	var wrong []FieldError
	for name, given := range values {
		switch {
		case name == "_":
		case !slices.Contains(allowed, name):
			wrong = append(wrong, FieldError{name, "is not a parameter here"})
		case len(given) > 1:
			wrong = append(wrong, FieldError{name, "is given twice"})
		}
	}
	if len(wrong) > 0 {
		return nil, Malformed(sorted(wrong)...)
	}
	return values, nil
}

// NoTokenInQuery refuses a request with a token in its URL. Callers check this before anything else, because
// the token is then in logs, and its owner must know that.
func NoTokenInQuery(r *http.Request) error {
	if r.URL.RawQuery == "" {
		return nil
	}
	values, _ := url.ParseQuery(r.URL.RawQuery) // on an error, values has the parameters that could be parsed
	for name := range values {
		if slices.Contains([]string{"token", "access_token", "authorization"}, strings.ToLower(name)) {
			return NewProblem(http.StatusBadRequest, "token_in_query",
				"a token in a URL ends up in logs: send it as Authorization: Bearer, and make a new one")
		}
	}
	return nil
}

// sorted sorts wrong in place by field name, so that an answer does not depend on the order of a map.
func sorted(wrong []FieldError) []FieldError {
	slices.SortFunc(wrong, func(a, b FieldError) int { return strings.Compare(a.Field, b.Field) })
	return wrong
}

// PageLimit reads the parameter limit: how many items a page may have. The error is a *Problem.
func PageLimit(q url.Values) (int, error) { return Int(q, "limit", defaultPageLimit, 1, MaxPageLimit) }

// Int reads a parameter that is a whole number from least to most. It returns absent if the parameter is
// absent. The error is a *Problem.
func Int(q url.Values, name string, absent, least, most int) (int, error) {
	s := q.Get(name)
	if s == "" {
		return absent, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < least || n > most {
		return 0, Malformed(OutOfRange(name, least, most))
	}
	return n, nil
}

// OutOfRange says that a field or parameter must be a number from least to most.
func OutOfRange(name string, least, most int) FieldError {
	return FieldError{name, fmt.Sprintf("must be a number from %d to %d", least, most)}
}

// Bool reads a parameter that is true or false. An absent parameter is false. The error is a *Problem.
func Bool(q url.Values, name string) (bool, error) {
	switch q.Get(name) {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	}
	return false, Malformed(FieldError{name, "must be true or false"})
}

// Strings reads a parameter that is a list of values separated by commas. It returns nil if the parameter is
// absent. An empty list does not count as absent: a client whose list has become empty must not get
// everything. It has one empty value, which no list may have, so the caller refuses it.
func Strings(q url.Values, name string) []string {
	if !q.Has(name) {
		return nil
	}
	return strings.Split(q.Get(name), ",")
}

// ParseID parses an id. It accepts only the canonical form of a UUID, in upper or lower case.
func ParseID(s string) (uuid.UUID, bool) {
	id, err := uuid.Parse(s)
	return id, err == nil && id.String() == strings.ToLower(s)
}

// ParseIDs reads a list of ids. It reports false if one of them is none.
func ParseIDs(list []string) (ids []uuid.UUID, ok bool) {
	for _, s := range list {
		id, ok := ParseID(s)
		if !ok {
			return nil, false
		}
		ids = append(ids, id)
	}
	return ids, true
}
