package center

import (
	"errors"
	"sync/atomic"

	"fabric-guild/events/histogram"
)

var (
	// ErrInactive says that Center does not know a token, or no longer.
	ErrInactive = errors.New("the token is not active")
	// ErrUnavailable says that Center gave no answer that can be relied on; the reason is wrapped beside it.
	ErrUnavailable = errors.New("center is unavailable")
)

// A reason is why a call failed, as metrics tell it.
type reason int

const (
	timedOut reason = iota
	unreachable
	redirect
	status
	invalid // an answer, but not one of the contract
	reasons // how many there are
)

func (r reason) String() string {
	return [reasons]string{"timeout", "unreachable", "redirect", "status", "invalid"}[r]
}

// A failure is an ErrUnavailable with its reason.
type failure struct {
	reason reason
	detail string
}

func (f *failure) Error() string { return ErrUnavailable.Error() + ": " + f.detail }

func (f *failure) Unwrap() error { return ErrUnavailable }

// An endpoint is one of Center's, and how it has fared.
type endpoint struct {
	method, path string
	calls        atomic.Int64
	answered     atomic.Int64
	abandoned    atomic.Int64
	took         histogram.Histogram
	failures     [reasons]atomic.Int64
}

// Counts are the calls of one endpoint so far: how many were made, and of those that have ended what came of them
// and how long they took. Failures go by reason: timeout, unreachable, redirect, status, invalid.
type Counts struct {
	Calls     int64
	Answered  int64
	Abandoned int64 // their callers went away
	Failures  map[string]int64
	Took      *histogram.Histogram
}

// Counts returns the counts of each endpoint: introspect, resolve_names, admin_email. Every reason is there,
// also one that has not come up. A call whose caller went away counts as a call, and as no failure.
func (c *Client) Counts() map[string]Counts {
	return map[string]Counts{
		"introspect":    c.introspect.counts(),
		"resolve_names": c.resolveNames.counts(),
		"admin_email":   c.adminEmail.counts(),
	}
}

// Refused is how many questions about new tokens were refused without a call: because all places for them were taken, and
// because of their client's address.
func (c *Client) Refused() (full, address int64) {
	return c.gate.refusedFull.Load(), c.gate.refusedAddress.Load()
}

func (e *endpoint) counts() Counts {
	n := Counts{Calls: e.calls.Load(), Answered: e.answered.Load(), Abandoned: e.abandoned.Load(), Failures: map[string]int64{}, Took: &e.took}
	for r := range reasons {
		n.Failures[r.String()] = e.failures[r].Load()
	}
	return n
}
