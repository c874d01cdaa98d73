package center

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/netip"
	"slices"
	"time"

	"fabric-guild/events"
)

const (
	activeTTL   = time.Minute // but never beyond exp
	inactiveTTL = 5 * time.Second
	// recheckAge is the maximum age of an answer that a live stream may rely on. It ensures that a revocation
	// ends a stream within a minute, even if one check fails. The worst case: a heartbeat relies on an answer
	// that is almost 25 s old. The next heartbeat comes 15 s later, waits 2 s, and gets no answer. The one
	// after it comes another 15 s later and waits 2 s. Together that is 59 s.
	recheckAge = 25 * time.Second
)

// maxToken is the length of the longest token that the client asks Center about, in bytes.
const maxToken = 8 << 10

// An Identity says which user a token belongs to. Identities from the same cached answer share Guilds, so
// Guilds must not be modified.
type Identity struct {
	UserID  string
	Guilds  []string  // the guilds that the token gives access to; nil means all
	Expires time.Time // zero if Center sent no exp

	// What Center says of the user. Each is zero if Center did not say it, or sent something that is not
	// valid.
	Kind        events.UserKind
	DisplayName string
	IssuedAt    int64 // when the token was issued, in seconds since 1970
}

// An asker is the client on whose behalf the server asks about a token.
type asker struct {
	from  netip.Addr // the client's address; zero if the server cannot distinguish clients
	known bool       // the token was valid on this server before
}

// A flight is a running introspection. All callers with the same token share it (single flight). Its result
// may be read after done is closed.
type flight struct {
	by       asker // the first caller
	done     chan struct{}
	identity Identity
	err      error
}

// Introspect asks Center which user a token belongs to (RFC 7662). Answers are cached: an active token for
// at most a minute and never beyond its exp, an inactive one for five seconds. Errors other than ErrInactive
// are not cached.
//
// Concurrent callers with the same token share one call, which takes at most two seconds. A call about a new
// token (one that was not valid on this server recently) first waits for a place, for at most two more
// seconds. The number of places is limited in total and for each address. The zero Addr stands for all
// clients that the server cannot distinguish.
//
// The error is ErrInactive, ErrTooManyNew, ErrUnavailable, or the cause of the end of ctx. When ctx ends,
// the call continues for the other callers.
func (c *Client) Introspect(ctx context.Context, from netip.Addr, token string) (Identity, error) {
	return c.introspectWithin(ctx, asker{from: from}, token, math.MaxInt64)
}

// Recheck reports whether a stream must end. was is the identity with which the stream was opened. The
// stream must end if its token is no longer active, belongs to another user, or no longer gives access to
// all guilds of was. Call Recheck at every heartbeat, 15 s apart; then it notices a revocation within a
// minute. If Center gives no answer, the stream stays open up to the exp in was, because an outage of Center
// must not end every stream.
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

// introspectWithin is like Introspect, but uses a cached answer about an active token only if it is younger
// than maxAge.
func (c *Client) introspectWithin(
	ctx context.Context, by asker, token string, maxAge time.Duration,
) (Identity, error) {
	if len(token) > maxToken || !visible(token) {
		return Identity{}, ErrInactive // not a bearer token (RFC 6750 §2.1): do not ask Center
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

// fly makes the call of a flight and caches its answer. The age of the answer counts from the question,
// because Center may have decided the answer any time after it.
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
		c.reportLocked(f.err)
	}
}

// throughGate calls ask at once if the token was valid before. For a new token it waits for a place first.
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
		return id, &failure{invalid, "cannot encode the question"}
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

// reportLocked logs when Center stops answering and when it answers again. It does not log every failure:
// while Center is down, every request and every heartbeat fails. c.mu must be held.
func (c *Client) reportLocked(err error) {
	down := errors.Is(err, ErrUnavailable)
	switch {
	case down && !c.down:
		c.logger.Warn("Center does not answer, so tokens cannot be checked; "+
			"requests are refused, live streams stay open", "error", err)
	case !down && c.down:
		c.logger.Info("Center answers again, tokens can be checked")
	}
	c.down = down
}
