package db

import (
	"context"
	"strings"
	"sync"
)

// ringUsers is how many users may wait to be named. The claims of others find their wakes when they look
// again.
const ringUsers = 10_000

// wakeRings carries the names of users whose wakes became due to the claims that wait, on this server and,
// with the doorbell's connection, on the others.
type wakeRings struct {
	ready chan struct{} // receives when there are users to name

	mu    sync.Mutex
	rung  func(user string)   // set once, before the first ring; may be nil
	users map[string]struct{} // to name to other servers; guarded by mu
}

// OnWake sets the function that RingWakes calls. The function must not block.
func (b *Doorbell) OnWake(rung func(user string)) {
	b.wakes.mu.Lock()
	defer b.wakes.mu.Unlock()
	b.wakes.rung = rung
}

// RingWakes makes the waiting claims of a user look for due wakes again, on all servers. It must come after
// the commit that makes a wake due. It does not block. Rings to other servers are sent together, and may be
// lost.
func (b *Doorbell) RingWakes(user string) {
	b.wakes.mu.Lock()
	rung := b.wakes.rung
	if !b.alone() && len(b.wakes.users) < ringUsers {
		b.wakes.users[user] = struct{}{}
	}
	b.wakes.mu.Unlock()
	if rung != nil {
		rung(user)
	}
	signal(b.wakes.ready)
}

// take removes the users to name, and returns a text for each.
func (r *wakeRings) take() (texts [][]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for user := range r.users {
		if len(user) < letterBytes {
			texts = append(texts, []byte(user+" "))
		}
	}
	clear(r.users)
	return texts
}

// ringWakesOfOthers sends the rings that have accumulated. If it fails, they are lost.
func (d *DB) ringWakesOfOthers(ctx context.Context) {
	texts := d.wakes.take()
	if d.alone() {
		return
	}
	_ = d.notify(ctx, d.letters(ctx, d.epoch.Load(), letterWakes, texts))
}

// hearWakes rings for the users whom another server names.
func (b *Doorbell) hearWakes(text string) {
	b.wakes.mu.Lock()
	rung := b.wakes.rung
	b.wakes.mu.Unlock()
	if rung == nil {
		return
	}
	for user := range strings.FieldsSeq(text) {
		rung(user)
	}
}
