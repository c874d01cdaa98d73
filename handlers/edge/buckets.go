package edge

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// rateWindow is the time in which a bucket of Rates fills, and the time between two sweeps.
const rateWindow = 10 * time.Second

// buckets has a token bucket for each key, such as a user. A key that is not in memory has a full bucket.
type buckets struct {
	each  rate.Limit // the refill: tokens per second
	burst int        // tokens of a full bucket

	mu    sync.Mutex
	byKey map[string]*rate.Limiter
	swept time.Time // when sweepLocked last ran
}

func newBuckets(each rate.Limit, burst int) *buckets {
	return &buckets{each: each, burst: burst, byKey: map[string]*rate.Limiter{}}
}

// use calls do with the bucket of a key. No other call uses the bucket meanwhile.
func (x *buckets) use(key string, now time.Time, do func(*rate.Limiter)) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if now.Sub(x.swept) >= rateWindow {
		x.sweepLocked(now)
	}
	u := x.byKey[key]
	if u == nil {
		u = rate.NewLimiter(x.each, x.burst)
		x.byKey[key] = u
	}
	do(u)
}

// sweepLocked forgets the keys whose buckets are full: a new bucket begins full. x.mu is held.
func (x *buckets) sweepLocked(now time.Time) {
	x.swept = now
	for key, u := range x.byKey {
		if u.TokensAt(now) >= float64(x.burst) {
			delete(x.byKey, key)
		}
	}
}
