package tail

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"syscall"

	"fabric-guild/events/follow"
)

// The exit codes; 0 is an end that was asked for.
const (
	exitError        = 1 // any other
	exitUsage        = 2 // a flag, or what the server does not understand of them
	exitUnauthorized = 3 // the token is not accepted, or has ended
	exitForbidden    = 4
	exitExec         = 5 // the command failed each time that it was tried
)

// An Error ends the command, and says by its code why. Its text is one that can be shown on a terminal.
type Error struct {
	code int
	err  error
}

func (e *Error) Error() string { return plain(strings.ReplaceAll(e.err.Error(), "\n", "; ")) }
func (e *Error) Unwrap() error { return e.err }

// ExitCode is the program's.
func (e *Error) ExitCode() int { return e.code }

// outcome is what following has come to, with the error of the cursor's file.
func outcome(ctx context.Context, err, saving error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) || errors.Is(err, syscall.EPIPE) {
		err = nil
	}
	if err = errors.Join(err, saving); err == nil {
		return nil
	}
	code := exitError
	if r, ok := errors.AsType[*follow.Refusal](err); ok {
		switch r.Status {
		case http.StatusUnauthorized:
			code = exitUnauthorized
		case http.StatusForbidden:
			code = exitForbidden
		case http.StatusBadRequest:
			code = exitUsage
		}
	}
	if _, ok := errors.AsType[*execError](err); ok {
		code = exitExec
	}
	return &Error{code, err}
}
