package follow

import (
	"math/rand/v2"
	"strconv"
	"time"
)

// Bounds of the time between two connections, before it is spread.
const (
	defaultRetry = 2 * time.Second
	minRetry     = 10 * time.Millisecond
	maxBackoff   = 30 * time.Second
	maxAsked     = 5 * time.Minute // whatever the server asks for
)

// A pause is the time between two connections. It doubles with each that comes to nothing, and is spread by
// half in both directions, so that the clients of a server that restarts do not come back in one moment.
type pause struct {
	retry    time.Duration // as the server asks for
	failures int           // in a row
}

// set takes the value of a retry field, which is milliseconds in digits (WHATWG HTML 9.2.6).
func (p *pause) set(field string) {
	if ms, err := strconv.ParseUint(field, 10, 32); err == nil {
		p.retry = min(max(minRetry, time.Duration(ms)*time.Millisecond), maxAsked)
	}
}

// next is how long to wait now; not less than the server asked for in a Retry-After.
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
