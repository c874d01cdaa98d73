package handlers

import (
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	"fabric-guild/db"
	"fabric-guild/handlers/chat"
	"fabric-guild/handlers/web"

	"github.com/google/uuid"
	"github.com/julienschmidt/httprouter"
)

const (
	maxName    = 100      // characters in the name of a channel
	maxContent = 16 << 10 // bytes in the content of a message
)

// channelID returns the channel id of the path. A path segment that is not an id gets the same 404 as an
// unknown channel.
func channelID(r *http.Request) (uuid.UUID, error) {
	id, ok := web.ParseID(httprouter.ParamsFromContext(r.Context()).ByName("id"))
	if !ok {
		return uuid.UUID{}, channelNotFound()
	}
	return id, nil
}

func checkID(field, s string) []web.FieldError {
	if chat.ValidID(s) {
		return nil
	}
	return []web.FieldError{
		{
			Field:  field,
			Detail: "must have 1 to 128 characters: letters, digits and . _ @ -. It must not be . or ..",
		},
	}
}

func checkName(s string) []web.FieldError {
	if utf8.RuneCountInString(s) > maxName || !chat.Readable(s) {
		return []web.FieldError{{Field: "name", Detail: "must have 1 to 100 characters, at least one of " +
			"them visible, and no control character, line end or direction mark"}}
	}
	return nil
}

func checkContent(s string) *web.Problem {
	switch {
	case strings.TrimSpace(s) == "":
		return web.Refused(web.FieldError{Field: "content", Detail: "is empty"})
	case len(s) > maxContent:
		return web.NewProblem(http.StatusUnprocessableEntity, "content_too_long",
			"a message has %d bytes at most; this one has %d", maxContent, len(s))
	case strings.ContainsRune(s, 0):
		return web.Refused(web.FieldError{
			Field: "content", Detail: "has a NUL character, which cannot be stored",
		})
	}
	return nil
}

// whole reads an optional number of a body.
func whole(wrong *[]web.FieldError, name string, given *int, absent, least, most int) int {
	switch {
	case given == nil:
		return absent
	case *given < least || *given > most:
		*wrong = append(*wrong, web.OutOfRange(name, least, most))
	}
	return *given
}

// label checks an optional name that is the client's own.
func label(wrong *[]web.FieldError, name string, given *string) string {
	if given == nil {
		return ""
	}
	*wrong = append(*wrong, checkID(name, *given)...)
	return *given
}

// shortText checks an optional short text of a body, such as the status of a worker.
func shortText(wrong *[]web.FieldError, name string, given *string) string {
	if given == nil {
		return ""
	}
	if utf8.RuneCountInString(*given) > db.WakeErrorLength || strings.ContainsRune(*given, 0) {
		*wrong = append(*wrong, web.FieldError{
			Field:  name,
			Detail: fmt.Sprintf("must have %d characters at most, and no NUL", db.WakeErrorLength),
		})
	}
	return *given
}
