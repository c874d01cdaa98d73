package remote

import (
	"errors"
	"net/http"
	"strings"
)

// The exit codes of the commands. The code is 0 if a command was asked to end.
const (
	ExitError        = 1 // any other error
	ExitUsage        = 2 // a wrong flag, or the server rejects what the flags ask for
	ExitUnauthorized = 3 // the server does not accept the token, or the token has ended
	ExitForbidden    = 4 // the server does not allow it
	ExitExec         = 5 // the command of tail -exec failed at every attempt
)

// An Error ends a command. Its exit code says why. Its text is one line and safe on a terminal.
type Error struct {
	code int
	err  error
}

// Exit returns an Error with this exit code.
func Exit(code int, err error) *Error { return &Error{code, err} }

func (e *Error) Error() string { return Plain(strings.ReplaceAll(e.err.Error(), "\n", "; ")) }
func (e *Error) Unwrap() error { return e.err }

// ExitCode returns the exit code of the program.
func (e *Error) ExitCode() int { return e.code }

// ExitCode returns the exit code for an error that is not nil: by the status, if it is a Refusal.
func ExitCode(err error) int {
	if r, ok := errors.AsType[*Refusal](err); ok {
		switch r.Status {
		case http.StatusUnauthorized:
			return ExitUnauthorized
		case http.StatusForbidden:
			return ExitForbidden
		case http.StatusBadRequest:
			return ExitUsage
		}
	}
	return ExitError
}
