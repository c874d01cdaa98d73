package center

import (
	"container/list"
	"crypto/sha256"
	"time"
)

// The capacities of the token caches. Active tokens have a cache of their own, so that a flood of made-up
// tokens evicts only other made-up tokens.
const (
	maxActive   = 32 << 10
	maxInactive = 4 << 10
)

// A tokenKey is the hash of a token. The cache does not keep the token itself.
type tokenKey [sha256.Size]byte

func keyOf(token string) tokenKey { return sha256.Sum256([]byte(token)) }

// A tokenCache holds answers. When it is full, it evicts the least recently used one. It is not safe for
// concurrent use.
type tokenCache struct {
	limit int
	byKey map[tokenKey]*list.Element
	order *list.List // of *tokenEntry, the most recently used first
}

type tokenEntry struct {
	key      tokenKey
	identity Identity
	asked    time.Time
}

func newTokenCache(limit int) *tokenCache {
	return &tokenCache{limit: limit, byKey: map[tokenKey]*list.Element{}, order: list.New()}
}

// find returns the answer about a token if the answer is younger than maxAge and the token has not expired.
func (c *tokenCache) find(key tokenKey, now time.Time, maxAge time.Duration) (Identity, bool) {
	at := c.byKey[key]
	if at == nil {
		return Identity{}, false
	}
	e := at.Value.(*tokenEntry)
	if now.Sub(e.asked) >= maxAge || !e.identity.Expires.IsZero() && !now.Before(e.identity.Expires) {
		return Identity{}, false
	}
	c.order.MoveToFront(at)
	return e.identity, true
}

// has reports whether the cache has an answer about a token, of any age.
func (c *tokenCache) has(key tokenKey) bool { return c.byKey[key] != nil }

// add stores an answer, and replaces an earlier one about the same token.
func (c *tokenCache) add(key tokenKey, identity Identity, asked time.Time) {
	c.remove(key)
	c.byKey[key] = c.order.PushFront(&tokenEntry{key, identity, asked})
	if len(c.byKey) > c.limit {
		c.remove(c.order.Back().Value.(*tokenEntry).key)
	}
}

func (c *tokenCache) remove(key tokenKey) {
	if at := c.byKey[key]; at != nil {
		c.order.Remove(at)
		delete(c.byKey, key)
	}
}
