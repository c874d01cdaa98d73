package center

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/netip"
	"slices"
	"time"
)

const (
	activeTTL   = time.Minute // and never beyond exp
	inactiveTTL = 5 * time.Second
	// recheckAge is the oldest answer that a live stream goes by. It may be looked at last just before it is as
	// old as that; the next heartbeat is 15 s later, may wait 2 s and get no answer; the one after that is
	// another 15 s later and may wait 2 s: 59 s, so a revocation ends a stream within a minute even though one
	// check fails.
	recheckAge = 25 * time.Second
)

// maxToken is the length of the longest token that is asked about.
const maxToken = 8 << 10

// An Identity is whose a token is. Those of a cached answer share Guilds: it is not to be changed.
type Identity struct {
	UserID  string
	Guilds  []string  // those that the token is for; nil: all
	Expires time.Time // zero: Center does not say
}

// An asker is who asks about a token.
type asker struct {
	from  netip.Addr // the address of the client; the zero Addr: it is not told apart from others
	known bool       // the token was valid here before
}

// A flight is one introspection under way. What it found may be read once done is closed.
type flight struct {
	by       asker // who asked first
	done     chan struct{}
	identity Identity
	err      error
}

// Introspect asks whose a token is (RFC 7662). An answer is kept: that a token is active for a minute at most
// and up to its exp, that it is not for five seconds. Callers of one token share one call, which takes two
// seconds at most. A call about a token that was not valid here a while ago first waits, for another two seconds
// at most, for a place among calls of its kind and of its client's address; the zero Addr is that of clients which
// are not told apart. The error is ErrInactive, ErrTooManyNew, ErrUnavailable, which is never kept, or what ended
// ctx; then the call goes on for the others.
func (c *Client) Introspect(ctx context.Context, from netip.Addr, token string) (Identity, error) {
	return c.introspectWithin(ctx, asker{from: from}, token, math.MaxInt64)
}

// Recheck reports whether a stream that was opened as was has to end: its token is not active any more, is of
// another user, or is no longer for all its guilds. It is for every heartbeat, 15 s apart, and notices within a
// minute. When Center gives no answer the stream stays, up to the exp that it was opened with: an outage of
// Center is not to become one of every stream.
func (c *Client) Recheck(ctx context.Context, token string, was Identity) (revoked bool) {
	now, err := c.introspectWithin(ctx, asker{known: true}, token, recheckAge)
	switch {
	case errors.Is(err, ErrInactive):
		return true
	case err != nil:
		return false
	}
	return now.UserID != was.UserID || !now.coversGuilds(was)
}

func (id Identity) coversGuilds(was Identity) bool {
	if id.Guilds == nil || was.Guilds == nil {
		return id.Guilds == nil
	}
	return !slices.ContainsFunc(was.Guilds, func(g string) bool { return !slices.Contains(id.Guilds, g) })
}

// introspectWithin is Introspect by answers that are younger than maxAge.
func (c *Client) introspectWithin(ctx context.Context, by asker, token string, maxAge time.Duration) (Identity, error) {
	if len(token) > maxToken || !visible(token) {
		return Identity{}, ErrInactive // no bearer token (RFC 6750 §2.1), so nothing to ask
	}
	key := keyOf(token)
	now := time.Now()
	c.mu.Lock()
	if id, ok := c.active.find(key, now, min(activeTTL, maxAge)); ok {
		c.mu.Unlock()
		return id, nil
	}
	if _, ok := c.inactive.find(key, now, inactiveTTL); ok {
		c.mu.Unlock()
		return Identity{}, ErrInactive
	}
	f := c.flights[key]
	if f == nil {
		if c.closed {
			c.mu.Unlock()
			return Identity{}, &failure{unreachable, "this client is closed"}
		}
		by.known = by.known || c.active.has(key)
		f = &flight{done: make(chan struct{}), by: by}
		c.flights[key] = f
		c.flying.Go(func() { c.fly(f, key, token) })
	}
	c.mu.Unlock()
	select {
	case <-f.done:
		return f.identity, f.err
	case <-ctx.Done():
		return Identity{}, context.Cause(ctx)
	}
}

// fly makes the call of a flight and keeps its answer. Its age counts from the question: what Center answers
// was true no earlier.
func (c *Client) fly(f *flight, key tokenKey, token string) {
	defer close(f.done)
	var asked time.Time
	f.identity, f.err = c.throughGate(f, func() (Identity, error) {
		asked = time.Now()
		return c.ask(token)
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.flights, key)
	switch {
	case f.err == nil:
		c.inactive.remove(key)
		c.active.add(key, f.identity, asked)
	case errors.Is(f.err, ErrInactive):
		c.active.remove(key)
		c.inactive.add(key, Identity{}, asked)
	}
	if !c.closed && !asked.IsZero() {
		c.tell(f.err)
	}
}

// throughGate asks at once about a token that was valid before, and about a new one when there is a place.
func (c *Client) throughGate(f *flight, ask func() (Identity, error)) (Identity, error) {
	if f.by.known {
		return ask()
	}
	leave, err := c.gate.enter(c.ctx, f.by.from)
	switch {
	case c.ctx.Err() != nil:
		if err == nil {
			leave(false)
		}
		return Identity{}, &failure{unreachable, "this client is closed"}
	case err != nil:
		return Identity{}, err
	}
	id, err := ask()
	leave(errors.Is(err, ErrInactive))
	return id, err
}

func (c *Client) ask(token string) (id Identity, err error) {
	body, err := json.Marshal(struct {
		Token string `json:"token"`
	}{token})
	if err != nil {
		return id, &failure{invalid, "the question cannot be written"}
	}
	active := false
	err = c.call(c.ctx, &c.introspect, body, func(answer []byte) (f *failure) {
		id, active, f = readIntrospection(answer)
		return f
	})
	switch {
	case c.ctx.Err() != nil:
		return Identity{}, &failure{unreachable, "this client is closed"}
	case err != nil:
		return Identity{}, err
	case !active, !id.Expires.IsZero() && !time.Now().Before(id.Expires):
		return Identity{}, ErrInactive
	}
	return id, nil
}

// tell logs when Center stops answering and when it is back, not every failure: while it is down, every
// request and every heartbeat is one. c.mu is held.
func (c *Client) tell(err error) {
	down := errors.Is(err, ErrUnavailable)
	switch {
	case down && !c.down:
		c.logger.Warn("tokens cannot be checked: requests are refused, live streams stay; is Center up?", "error", err)
	case !down && c.down:
		c.logger.Info("tokens are checked again")
	}
	c.down = down
}
