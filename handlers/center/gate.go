package center

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Limits for calls about new tokens. A token is new if it was not valid on this server recently. Anybody can
// make up new tokens. The rest of the maxConns connections is for the tokens of current users, for names and
// for the admin.
const (
	newTokens          = maxConns * 3 / 4 // concurrent calls
	newTokensOfAddress = 32               // concurrent calls for one client address
	waitingOfAddress   = 1024             // tokens of one address that wait for such a call
	// An address may ask about inactiveBurst tokens at once that Center does not know, and about inactiveRate
	// per second on average. Active tokens are free, so that many users may share an address.
	inactiveBurst = 32
	inactiveRate  = rate.Limit(5)

	gateSweep = 10 * time.Second
)

// ErrTooManyNew means that an address has asked about too many new tokens. It may try again after a second.
var ErrTooManyNew = errors.New("too many new tokens from one address")

// A gate limits the calls about new tokens, in total and for each client address.
type gate struct {
	places chan struct{} // one element for each running call

	refusedFull    atomic.Int64
	refusedAddress atomic.Int64

	mu        sync.Mutex
	addresses map[netip.Addr]*caller
	swept     time.Time
}

// A caller is the state of one client address. gate.mu guards it.
type caller struct {
	calls    int // running calls
	waiting  int
	inactive *rate.Limiter
	freed    chan struct{} // wakes one waiting goroutine, which then wakes the next one
}

func newGate() *gate {
	return &gate{places: make(chan struct{}, newTokens), addresses: map[netip.Addr]*caller{}}
}

// enter waits for a place for a call on behalf of a client address. It blocks for at most timeout. The
// caller must call leave after the call, and tell it whether the token was inactive. The zero Addr stands
// for all clients that the server cannot distinguish; it has no limit of its own. The error is
// ErrTooManyNew, a failure, or the cause of the end of ctx.
func (g *gate) enter(ctx context.Context, from netip.Addr) (leave func(inactive bool), err error) {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c, err := g.enterFrom(limited, from)
	if err != nil {
		return nil, g.refuse(ctx, &g.refusedAddress, err)
	}
	select {
	case g.places <- struct{}{}:
	case <-limited.Done():
		g.leave(c, false)
		return nil, g.refuse(ctx, &g.refusedFull,
			&failure{timedOut, "too many calls about new tokens are running"})
	}
	return func(inactive bool) {
		<-g.places
		g.leave(c, inactive)
	}, nil
}

// refuse counts a refusal and returns err. If the caller went away, it counts nothing and returns the cause.
func (g *gate) refuse(ctx context.Context, refused *atomic.Int64, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	refused.Add(1)
	return err
}

// enterFrom waits for a place among the calls for an address. For the zero Addr it returns nil at once. The
// error is ErrTooManyNew.
func (g *gate) enterFrom(ctx context.Context, from netip.Addr) (*caller, error) {
	if !from.IsValid() {
		return nil, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.callerLocked(from)
	if c.waiting >= waitingOfAddress {
		return nil, ErrTooManyNew
	}
	c.waiting++
	defer func() {
		c.waiting--
		c.wake()
	}()
	for {
		// Every running call may turn out to be about an inactive token.
		// So no more calls run than the address may still ask about inactive tokens.
		most := min(newTokensOfAddress, int(c.inactive.Tokens()))
		switch {
		case most < 1:
			return nil, ErrTooManyNew
		case c.calls < most:
			c.calls++
			return c, nil
		}
		g.mu.Unlock()
		select {
		case <-c.freed:
		case <-ctx.Done():
		}
		g.mu.Lock()
		if ctx.Err() != nil {
			return nil, ErrTooManyNew
		}
	}
}

// callerLocked returns the caller of an address, and creates it if necessary. From time to time it also
// sweeps. g.mu must be held.
func (g *gate) callerLocked(from netip.Addr) *caller {
	now := time.Now()
	if now.Sub(g.swept) >= gateSweep {
		g.sweepLocked(now)
	}
	c := g.addresses[from]
	if c == nil {
		c = &caller{inactive: rate.NewLimiter(inactiveRate, inactiveBurst), freed: make(chan struct{}, 1)}
		g.addresses[from] = c
	}
	return c
}

// sweepLocked removes the addresses whose state equals that of a new address. g.mu must be held.
func (g *gate) sweepLocked(now time.Time) {
	g.swept = now
	for from, c := range g.addresses {
		if c.calls == 0 && c.waiting == 0 && c.inactive.TokensAt(now) >= inactiveBurst {
			delete(g.addresses, from)
		}
	}
}

// leave frees a place among the calls for an address. It charges the address if the token was inactive.
func (g *gate) leave(c *caller, inactive bool) {
	if c == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if inactive {
		c.inactive.Allow()
	}
	c.calls--
	c.wake()
}

// wake wakes one goroutine that waits for a place, if there is one. It never blocks.
func (c *caller) wake() {
	select {
	case c.freed <- struct{}{}:
	default:
	}
}
