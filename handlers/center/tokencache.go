package center

import (
	"container/list"
	"crypto/sha256"
	"time"
)

// How many tokens are remembered. Those that are active have a cache of their own, so that a flood of made-up
// ones displaces only one another.
const (
	maxActive   = 32 << 10
	maxInactive = 4 << 10
)

// A tokenKey stands for a token, which itself is not kept.
type tokenKey [sha256.Size]byte

func keyOf(token string) tokenKey { return sha256.Sum256([]byte(token)) }

// A tokenCache remembers answers, and when it is full forgets the one that was not used for the longest time.
// Its owner guards it.
type tokenCache struct {
	limit int
	byKey map[tokenKey]*list.Element
	order *list.List // of *tokenEntry, the last used first
}

type tokenEntry struct {
	key      tokenKey
	identity Identity
	asked    time.Time
}

func newTokenCache(limit int) *tokenCache {
	return &tokenCache{limit: limit, byKey: map[tokenKey]*list.Element{}, order: list.New()}
}

// find returns an answer that is younger than maxAge, of a token that has not expired.
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

// has reports whether there is an answer about a token, however old.
func (c *tokenCache) has(key tokenKey) bool { return c.byKey[key] != nil }

// add remembers an answer in the place of an earlier one.
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
