package edge

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/time/rate"

	"fabric-guild/handlers/web"
)

// Rates limits how many requests each user sends per second. A user may send the requests of one rateWindow
// at once, and regains them at the rate each. A nil *Rates has no limit.
type Rates struct {
	*buckets

	name    string   // the name of the policy in the headers
	policy  []string // the value of the header RateLimit-Policy
	refusal string   // the detail of a refusal: a format for each and burst
	quiet   bool     // only refusals have the headers
}

// readsPerSecond limits the reads of one user. Each page of a list, each opening of a stream, and each poll
// is a read. A client that reads only what events announce needs fewer.
const readsPerSecond = 200

// changesPerOpen is the number of changes that cost as much as opening a stream, or as polling without a
// cursor. Both load all of the user's memberships. A client that keeps its stream open opens few.
const changesPerOpen = 10

// NewRates returns the limit of changes per second and user. If each is 0, it returns nil,
// which has no limit.
func NewRates(each float64) *Rates { return settable("user", each, "changes") }

// NewQueueRates returns the limit of claims and extensions per second and user. If each is 0, it returns nil,
// which has no limit.
func NewQueueRates(each float64) *Rates { return settable("claims", each, "claims and extensions") }

// settable returns a limit that the operator sets. name is that of the policy: two limits must not share one,
// because clients count by it. what names the requests.
func settable(name string, each float64, what string) *Rates {
	if each == 0 {
		return nil
	}
	refusal := "this is more than %v " + what + " per second, after %d at once; the server's " +
		"-rate-limit sets it"
	return rated(name, each, refusal)
}

// NewReadRates returns the limit of reads per second and user.
func NewReadRates() *Rates {
	const refusal = "this is more than %v reads per second, after %d at once; let a stream tell " +
		"you what is new"
	x := rated("reads", readsPerSecond, refusal)
	x.quiet = true
	return x
}

// NewOpenRates returns the limit of streams and first polls per second and user, where changes are that of
// NewRates.
func NewOpenRates(changes float64) *Rates {
	if changes == 0 {
		return nil
	}
	const refusal = "this is more than %v streams opened per second, after %d at once; keep one stream open"
	x := rated("streams", changes/changesPerOpen, refusal)
	x.quiet = true
	return x
}

// activityPerSecond limits the activity that a user may send. It does not count as changes.
const activityPerSecond = 50

// NewActivityRates returns the limit of activity per second and user.
func NewActivityRates() *Rates {
	const refusal = "this is more than %v activities per second, after %d at once; others see four per " +
		"second at most"
	x := rated("activity", activityPerSecond, refusal)
	x.quiet = true
	return x
}

// NewFreshRates returns the limit of posts with ifLast: one per second for each user and channel, because
// each takes the channel's lock from everybody else. The keys are the caller's.
func NewFreshRates() *Rates {
	const refusal = "this is more than %v post with ifLast per second in this channel, after %d at once"
	return &Rates{
		buckets: newBuckets(1, 1), name: "ifLast", refusal: refusal, policy: []string{`"ifLast";q=1;w=1`},
		quiet: true,
	}
}

func rated(name string, each float64, refusal string) *Rates {
	burst := int(math.Ceil(each * rateWindow.Seconds()))
	return &Rates{
		buckets: newBuckets(rate.Limit(each), burst), name: name, refusal: refusal,
		policy: []string{fmt.Sprintf(`"%s";q=%d;w=%d`, name, burst, int(rateWindow.Seconds()))},
	}
}

// Take counts a request of a user n times, and sets the headers that say how many requests the user has left
// (draft-ietf-httpapi-ratelimit-headers-10). The error is a *web.Problem: the user has none left.
func (x *Rates) Take(h http.Header, user string, n int, now time.Time) error {
	if x == nil || n == 0 {
		return nil
	}
	n = min(n, x.burst)
	allowed, left := x.count(user, n, now)
	if allowed && x.quiet {
		return nil
	}
	seconds := func(requests float64) int { return int(math.Ceil(max(0, requests) / float64(x.each))) }
	h["Ratelimit-Policy"] = x.policy
	full := seconds(float64(x.burst) - left)
	h["Ratelimit"] = []string{`"` + x.name + `";r=` + strconv.Itoa(int(left)) + `;t=` + strconv.Itoa(full)}
	if allowed {
		return nil
	}
	p := web.NewProblem(http.StatusTooManyRequests, "rate_limited", x.refusal, x.each, x.burst)
	p.RetryAfter = max(1, seconds(float64(n)-left))
	return p
}

// count counts a request n times. left is how many requests the user may still send at once; it is never
// negative.
func (x *Rates) count(user string, n int, now time.Time) (allowed bool, left float64) {
	x.use(user, now, func(u *rate.Limiter) {
		allowed = u.AllowN(now, n)
		left = max(0, u.TokensAt(now))
	})
	return allowed, left
}
