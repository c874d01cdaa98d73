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
	maxName      = 100      // characters of a channel's name
	maxContent   = 16 << 10 // bytes of a message
)

// channelID is the path's; what cannot be an id is the id of nothing.
func channelID(r *http.Request) (uuid.UUID, error) {
	id, ok := parseID(httprouter.ParamsFromContext(r.Context()).ByName("id"))
	if !ok {
		return uuid.UUID{}, channelNotFound()
	}
	return id, nil
}

// parseID takes the canonical form only.
func parseID(s string) (uuid.UUID, bool) {
	id, err := uuid.Parse(s)
	return id, err == nil && id.String() == strings.ToLower(s)
}

func limit(q url.Values) (int, error) { return number(q, "limit", defaultLimit, 1, maxLimit) }

// number reads a parameter that is a whole number within bounds.
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

// flag reads a parameter that is true or false; absent is false.
func flag(q url.Values, name string) (bool, error) {
	switch q.Get(name) {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	}
	return false, malformed(fieldError{name, "must be true or false"})
}

// list reads a parameter of values with commas between.
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
