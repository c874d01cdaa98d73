package handlers

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"fabric-guild/handlers/chat"

	"github.com/google/uuid"
	"github.com/julienschmidt/httprouter"
)

const (
	defaultLimit = 50
	maxLimit     = 200
	maxName      = 100      // characters in the name of a channel
	maxContent   = 16 << 10 // bytes in the content of a message
)

// channelID returns the channel id of the path. A path segment that is not an id gets the same 404 as an
// unknown channel.
func channelID(r *http.Request) (uuid.UUID, error) {
	id, ok := parseID(httprouter.ParamsFromContext(r.Context()).ByName("id"))
	if !ok {
		return uuid.UUID{}, channelNotFound()
	}
	return id, nil
}

// parseID parses an id. It accepts only the canonical form of a UUID, in upper or lower case.
func parseID(s string) (uuid.UUID, bool) {
	id, err := uuid.Parse(s)
	return id, err == nil && id.String() == strings.ToLower(s)
}

// limit reads the parameter limit: how many items a page may have.
func limit(q url.Values) (int, error) { return number(q, "limit", defaultLimit, 1, maxLimit) }

// number reads a parameter that is a whole number from least to most. It returns absent if the parameter is
// absent. The error is a *problem.
func number(q url.Values, name string, absent, least, most int) (int, error) {
	s := q.Get(name)
	if s == "" {
		return absent, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < least || n > most {
		return 0, malformed(outOfRange(name, least, most))
	}
	return n, nil
}

func outOfRange(name string, least, most int) fieldError {
	return fieldError{name, fmt.Sprintf("must be a number from %d to %d", least, most)}
}

// flag reads a parameter that is true or false. An absent parameter is false. The error is a *problem.
func flag(q url.Values, name string) (bool, error) {
	switch q.Get(name) {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	}
	return false, malformed(fieldError{name, "must be true or false"})
}

// list reads a parameter that is a list of values separated by commas. It returns nil if the parameter is
// absent or empty.
func list(q url.Values, name string) []string {
	if q.Get(name) == "" {
		return nil
	}
	return strings.Split(q.Get(name), ",")
}

func checkID(field, s string) []fieldError {
	if chat.ValidID(s) {
		return nil
	}
	return []fieldError{{field, "must be 1 to 128 of letters, digits and . _ @ -, and neither . nor .."}}
}

func checkName(s string) []fieldError {
	if utf8.RuneCountInString(s) > maxName || !readable(s) {
		return []fieldError{{"name", "must have 1 to 100 characters, something visible among them, and no control " +
			"character, line end, or mark that sets the direction of text"}}
	}
	return nil
}

func checkContent(s string) *problem {
	switch {
	case strings.TrimSpace(s) == "":
		return refused(fieldError{"content", "is empty"})
	case len(s) > maxContent:
		return newProblem(http.StatusUnprocessableEntity, "content_too_long", "a message holds at most %d bytes, this one has %d", maxContent, len(s))
	case strings.ContainsRune(s, 0):
		return refused(fieldError{"content", "holds a NUL, which cannot be stored"})
	}
	return nil
}
