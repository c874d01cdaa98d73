package edge

import (
	"context"
	"net/http"
	"time"

	"fabric-guild/handlers/web"

	"golang.org/x/time/rate"
)

// Each key of a Work has workAtOnce of the server's time at once, and regains workShare seconds in each
// second. A person who reads, and an agent that reads what events announce, need a small part of this. A user
// who reads all the time gets a quarter of one processor.
const (
	workShare  = 0.25
	workAtOnce = 4 * time.Second
)

// Work limits how much time the server spends on the requests of one user, or of one address without a token.
// A limit on the number of requests cannot do this: one request may cost a thousand times what another costs.
// A request is charged after the work, when its cost is known. The next request waits until the debt is paid.
type Work struct{ *buckets } // in microseconds

// NewWork returns a Work in which nobody owes anything.
func NewWork() *Work {
	return &Work{newBuckets(rate.Limit(workShare*1e6), int(workAtOnce.Microseconds()))}
}

// Await blocks until key owes nothing, for at most turnPatience. The error is the refusal too_many_requests,
// or the error of ctx.
func (x *Work) Await(ctx context.Context, key string) error {
	owed := x.owed(key, time.Now())
	if owed <= 0 {
		return nil
	}
	if owed > turnPatience {
		return tooMuchWork(owed)
	}
	paid := time.NewTimer(owed)
	defer paid.Stop()
	late := time.Now().Add(turnPatience)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-paid.C:
		}
		now := time.Now()
		switch owed = x.owed(key, now); {
		case owed <= 0:
			return nil
		case now.Add(owed).After(late):
			return tooMuchWork(owed)
		}
		paid.Reset(owed)
	}
}

func tooMuchWork(owed time.Duration) error {
	p := web.NewProblem(http.StatusTooManyRequests, "too_many_requests",
		"your reads and snapshots take more than %d %% of a processor; ask for less, or less often",
		int(workShare*100))
	p.RetryAfter = int(owed/time.Second) + 1
	return p
}

// Charge counts work that was done for key.
func (x *Work) Charge(key string, work time.Duration) {
	now := time.Now()
	x.use(key, now, func(u *rate.Limiter) {
		// a reservation may take what key does not have yet
		u.ReserveN(now, int(min(work, workAtOnce).Microseconds()))
	})
}

// owed returns how long it takes until key owes nothing.
func (x *Work) owed(key string, now time.Time) (left time.Duration) {
	x.use(key, now, func(u *rate.Limiter) {
		left = time.Duration(-u.TokensAt(now) / workShare * float64(time.Microsecond))
	})
	return left
}
