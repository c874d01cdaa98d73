package tail

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"syscall"

	"fabric-guild/events/follow"
)

// The exit codes. The code is 0 if tail was asked to end.
const (
	exitError        = 1 // any other error
	exitUsage        = 2 // a wrong flag, or the server rejects what the flags ask for
	exitUnauthorized = 3 // the server does not accept the token, or the token has ended
	exitForbidden    = 4 // the server does not allow it
	exitExec         = 5 // the command failed at every attempt
)

// An Error ends the command. Its exit code says why. Its text is one line and safe on a terminal.
type Error struct {
	code int
	err  error
}

func (e *Error) Error() string { return plain(strings.ReplaceAll(e.err.Error(), "\n", "; ")) }
func (e *Error) Unwrap() error { return e.err }

// ExitCode returns the exit code of the program.
func (e *Error) ExitCode() int { return e.code }

// outcome returns the result of the command. err is the error of Follow, saving the error of the cursor file.
// The end of ctx and a reader of stdout that is gone are no errors. Any other error becomes an *Error.
func outcome(ctx context.Context, err, saving error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) || errors.Is(err, syscall.EPIPE) {
		err = nil
	}
	err = errors.Join(err, saving)
	if err == nil {
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
