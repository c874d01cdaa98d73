package remote

import (
	"math/rand/v2"
	"strconv"
	"time"
)

// Bounds of the backoff between two attempts, before jitter.
const (
	defaultRetry = 2 * time.Second
	minRetry     = 10 * time.Millisecond
	maxBackoff   = 30 * time.Second
	MaxAsked     = 5 * time.Minute // even if the server asks for more
)

// A Backoff computes the pause between two attempts. The pause doubles with each failure in a row. It gets a
// random jitter of half its length in both directions, so that the clients of a server that restarts do not
// all come back at the same moment. The zero value is ready to use.
type Backoff struct {
	retry    time.Duration // the server's wish; 0: defaultRetry
	failures int           // in a row
}

// SetRetry reads the value of a stream's retry field: a number of milliseconds (WHATWG HTML 9.2.6). It
// ignores any other value.
func (b *Backoff) SetRetry(field string) {
	if ms, err := strconv.ParseUint(field, 10, 32); err == nil {
		b.retry = min(max(minRetry, time.Duration(ms)*time.Millisecond), MaxAsked)
	}
}

// Reset records a success.
func (b *Backoff) Reset() { b.failures = 0 }

// Next returns how long to wait now, and counts a failure. The wait is at least after, which comes from a
// Retry-After header.
func (b *Backoff) Next(after time.Duration) time.Duration {
	d := b.retry
	if d == 0 {
		d = defaultRetry
	}
	for range b.failures {
		if d >= maxBackoff {
			break
		}
		d = min(2*d, maxBackoff)
	}
	b.failures++
	d = d/2 + rand.N(d)
	if after > 0 {
		after = min(after, MaxAsked)
		d = max(d, after+rand.N(after/4+time.Second))
	}
	return d
}
