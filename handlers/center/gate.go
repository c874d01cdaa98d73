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

// Bounds of the calls about new tokens: those that were not valid here a while ago. Anybody can make them up. The rest
// of the maxConns connections is for the tokens of users who are here, for names and for the admin.
const (
	newTokens          = maxConns * 3 / 4 // calls at once
	newTokensOfAddress = 32               // calls at once for one client address
	waitingOfAddress   = 1024             // tokens of one address that wait for these
	// An address may have inactiveBurst tokens at once that Center does not know, and inactiveRate per second on
	// average. Tokens that are active cost nothing, so that many users may share an address.
	inactiveBurst = 32
	inactiveRate  = rate.Limit(5)

	gateSweep = 10 * time.Second
)

// ErrTooManyNew says that an address has asked about too many new tokens; it may try again after a second.
var ErrTooManyNew = errors.New("too many new tokens from one address")

// A gate bounds the calls about new tokens.
type gate struct {
	places chan struct{}

	refusedFull, refusedAddress atomic.Int64

	mu        sync.Mutex
	addresses map[netip.Addr]*caller
	swept     time.Time
}

// A caller is a client address. The gate's mu guards it.
type caller struct {
	calls    int // under way
	waiting  int
	inactive *rate.Limiter
	freed    chan struct{} // wakes one of those who wait; it wakes the next one
}

func newGate() *gate {
	return &gate{places: make(chan struct{}, newTokens), addresses: map[netip.Addr]*caller{}}
}

// enter waits for a place for a call for a client address, for timeout at most. The caller must leave with what came
// of the call. The zero Addr stands for clients that are not told apart. The error is ErrTooManyNew, a failure, or
// what ended ctx.
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
		return nil, g.refuse(ctx, &g.refusedFull, &failure{timedOut, "too many new tokens are being asked about"})
	}
	return func(inactive bool) {
		<-g.places
		g.leave(c, inactive)
	}, nil
}

// refuse counts a refusal, unless nobody asks any more.
func (g *gate) refuse(ctx context.Context, refused *atomic.Int64, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	refused.Add(1)
	return err
}

// enterFrom waits for a place among the calls for an address; there is always one for the zero Addr, whose caller is
// nil. The error is ErrTooManyNew.
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
		// Each call may turn out to be one too many, so that no more are under way than may be inactive.
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

// callerLocked is the caller at an address.
func (g *gate) callerLocked(from netip.Addr) *caller {
	if now := time.Now(); now.Sub(g.swept) >= gateSweep {
		g.sweepLocked(now)
	}
	c := g.addresses[from]
	if c == nil {
		c = &caller{inactive: rate.NewLimiter(inactiveRate, inactiveBurst), freed: make(chan struct{}, 1)}
		g.addresses[from] = c
	}
	return c
}

// sweepLocked forgets addresses that would begin with as much.
func (g *gate) sweepLocked(now time.Time) {
	g.swept = now
	for from, c := range g.addresses {
		if c.calls == 0 && c.waiting == 0 && c.inactive.TokensAt(now) >= inactiveBurst {
			delete(g.addresses, from)
		}
	}
}

// leave gives back a place among the calls for an address.
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

func (c *caller) wake() {
	select {
	case c.freed <- struct{}{}:
	default:
	}
}
