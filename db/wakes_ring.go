package db

import (
	"context"
	"strings"
	"sync"

	"github.com/google/uuid"
)

const (
	wakeChannel = "fabric_guild_wakes"
	listenWakes = `LISTEN fabric_guild_wakes`

	ringBytes = 7000   // text of one NOTIFY; Postgres takes fewer than 8,000 bytes
	ringUsers = 10_000 // users who wait to be named; the claims of others find their wakes when they look again
)

// wakeRings carries the names of users whose wakes became due to the claims that wait, on this server and, with
// the doorbell's connection, on the others.
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

// RingWakes makes the waiting claims of a user look for due wakes again, on all servers. It must come after the
// commit that makes a wake due. It does not block. Rings to other servers are sent together, and may be lost.
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

// take removes the users to name, and returns them as the payloads of notifications.
func (r *wakeRings) take(node string) (payloads []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := node
	for user := range r.users {
		if len(text)+1+len(user) > ringBytes {
			payloads = append(payloads, text)
			text = node
		}
		text += " " + user
	}
	if text != node {
		payloads = append(payloads, text)
	}
	clear(r.users)
	return payloads
}

// ringWakesOfOthers sends the rings that have accumulated. If it fails, they are lost.
func (d *DB) ringWakesOfOthers(ctx context.Context) {
	payloads := d.wakes.take(d.node)
	if len(payloads) == 0 || d.alone() {
		return
	}
	_ = d.notify(ctx, wakeChannel, payloads)
}

// hearWakes rings for the users whom another server names. It ignores a payload that is not one of a server.
func (b *Doorbell) hearWakes(payload string) {
	node, names, _ := strings.Cut(payload, " ")
	if _, err := uuid.Parse(node); err != nil || node == b.node || names == "" {
		return
	}
	b.heard()
	b.wakes.mu.Lock()
	rung := b.wakes.rung
	b.wakes.mu.Unlock()
	if rung == nil {
		return
	}
	for user := range strings.SplitSeq(names, " ") {
		rung(user)
	}
}
