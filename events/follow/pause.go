package follow

import (
	"math/rand/v2"
	"strconv"
	"time"
)

// Bounds of the backoff between two connections, before jitter.
const (
	defaultRetry = 2 * time.Second
	minRetry     = 10 * time.Millisecond
	maxBackoff   = 30 * time.Second
	maxAsked     = 5 * time.Minute // even if the server asks for more
)

// A pause computes the backoff between two connections. The backoff doubles with each failed connection. It
// gets a random jitter of half its length in both directions, so that the clients of a server that restarts
// do not all reconnect at the same moment.
type pause struct {
	retry    time.Duration // the server's wish
	failures int           // in a row
}

// set reads the value of a retry field: a number of milliseconds (WHATWG HTML 9.2.6). It ignores any other
// value.
func (p *pause) set(field string) {
	if ms, err := strconv.ParseUint(field, 10, 32); err == nil {
		p.retry = min(max(minRetry, time.Duration(ms)*time.Millisecond), maxAsked)
	}
}

// next returns how long to wait now, and counts a failure. The wait is at least after, which comes from a
// Retry-After header.
func (p *pause) next(after time.Duration) time.Duration {
	d := p.retry
	for range p.failures {
		if d >= maxBackoff {
			break
		}
		d = min(2*d, maxBackoff)
	}
	p.failures++
	d = d/2 + rand.N(d)
	if after > 0 {
		after = min(after, maxAsked)
		d = max(d, after+rand.N(after/4+time.Second))
	}
	return d
}
