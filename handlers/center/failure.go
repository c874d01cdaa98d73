package center

import (
	"errors"
	"sync/atomic"

	"fabric-guild/events/histogram"
)

var (
	// ErrInactive means that the token is unknown to Center, has expired, or was revoked.
	ErrInactive = errors.New("the token is not active")
	// ErrUnavailable means that Center gave no usable answer. Errors that wrap it also contain the reason.
	ErrUnavailable = errors.New("center is unavailable")
)

// A reason is why a call failed, as metrics show it.
type reason int

const (
	timedOut reason = iota
	unreachable
	redirect
	status
	invalid // an answer that violates the contract
	reasons // the number of reasons
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

// An endpoint is one endpoint of Center with the counters of its calls.
type endpoint struct {
	method, path string
	calls        atomic.Int64
	answered     atomic.Int64
	abandoned    atomic.Int64
	took         histogram.Histogram
	failures     [reasons]atomic.Int64
}

// Counts are the counters of one endpoint: how many calls were made, and for the ended ones the result and
// the duration. The keys of Failures are the reasons: timeout, unreachable, redirect, status, invalid.
type Counts struct {
	Calls     int64
	Answered  int64
	Abandoned int64 // the caller went away
	Failures  map[string]int64
	Took      *histogram.Histogram
}

// Counts returns the counters of each endpoint: introspect, resolve_names, admin_email. Every reason is
// present, also one that has not occurred yet. A call whose caller went away counts as a call, but not as a
// failure.
func (c *Client) Counts() map[string]Counts {
	return map[string]Counts{
		"introspect":    c.introspect.counts(),
		"resolve_names": c.resolveNames.counts(),
		"admin_email":   c.adminEmail.counts(),
	}
}

// Refused returns how many questions about new tokens were refused without a call to Center: because all
// places were taken (full), and because the client's address had asked too often (address).
func (c *Client) Refused() (full, address int64) {
	return c.gate.refusedFull.Load(), c.gate.refusedAddress.Load()
}

func (e *endpoint) counts() Counts {
	n := Counts{
		Calls:     e.calls.Load(),
		Answered:  e.answered.Load(),
		Abandoned: e.abandoned.Load(),
		Failures:  map[string]int64{},
		Took:      &e.took,
	}
	for r := range reasons {
		n.Failures[r.String()] = e.failures[r].Load()
	}
	return n
}
