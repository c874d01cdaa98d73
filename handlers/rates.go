package handlers

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// rates bounds how often each user asks for something. A user who was quiet has rateWindow's worth in hand.
type rates struct {
	each    rate.Limit // per second
	burst   int
	name    string   // of the policy
	policy  []string // the header that tells of it
	refusal string   // its detail, a format for each and burst
	quiet   bool     // only a refusal has the headers

	mu    sync.Mutex
	users map[string]*rate.Limiter // but those who have all of it in hand
	swept time.Time
}

const rateWindow = 10 * time.Second

// readsPerSecond is more than any client needs that reads what it was told of: a page of a list is a read, and so
// is each opening of a stream, and each poll.
const readsPerSecond = 200

// newRates returns the bound of so many changes per second; nil for 0: none.
func newRates(each float64) *rates {
	if each == 0 {
		return nil
	}
	const refusal = "this is more than %v changes per second, after %d at once; the server's -rate-limit sets it"
	return rated("user", each, refusal)
}

// newReadRates returns the bound of reads.
func newReadRates() *rates {
	const refusal = "this is more than %v reads per second, after %d at once; let a stream tell you what is new"
	x := rated("reads", readsPerSecond, refusal)
	x.quiet = true
	return x
}

func rated(name string, each float64, refusal string) *rates {
	burst := int(math.Ceil(each * rateWindow.Seconds()))
	return &rates{
		each: rate.Limit(each), burst: burst, name: name, refusal: refusal, users: map[string]*rate.Limiter{},
		policy: []string{fmt.Sprintf(`"%s";q=%d;w=%d`, name, burst, int(rateWindow.Seconds()))},
	}
}

// take counts a request of a user, and tells them what they have in hand
// (draft-ietf-httpapi-ratelimit-headers-10). The error is a refusal.
func (x *rates) take(h http.Header, user string, now time.Time) error {
	if x == nil {
		return nil
	}
	allowed, left := x.count(user, now)
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
	p := newProblem(http.StatusTooManyRequests, "rate_limited", x.refusal, x.each, x.burst)
	p.retryAfter = max(1, seconds(1-left))
	return p
}

func (x *rates) count(user string, now time.Time) (allowed bool, left float64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if now.Sub(x.swept) >= rateWindow {
		x.sweep(now)
	}
	u := x.users[user]
	if u == nil {
		u = rate.NewLimiter(x.each, x.burst)
		x.users[user] = u
	}
	allowed = u.AllowN(now, 1)
	return allowed, max(0, u.TokensAt(now))
}

// sweep forgets who has been quiet: they would begin with as much.
func (x *rates) sweep(now time.Time) {
	x.swept = now
	for id, u := range x.users {
		if u.TokensAt(now) >= float64(x.burst) {
			delete(x.users, id)
		}
	}
}
