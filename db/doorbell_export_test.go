package db

import (
	"context"
	"time"
)

// Fields of a Doorbell that tests set and read.
func (b *Doorbell) SayHello(every time.Duration) { b.hello = every }
func (b *Doorbell) Alone() bool                  { return b.alone() }
func (b *Doorbell) Node() string                 { return b.node }

// Ring rings as after the commit of an unknown event.
func (b *Doorbell) Ring() {
	b.outgoing.omit()
	b.ring()
}

// BeHeard makes a server believe that others hear it, for a test that carries its rings.
func (b *Doorbell) BeHeard() { b.unanswered.Store(helloMissed) }

// Rings returns the payloads of the ring that the server would send now.
func (d *DB) Rings(ctx context.Context) []string { return d.rings(ctx) }

// Hear takes the payload of a ring.
func (d *DB) Hear(ctx context.Context, payload string) { d.hears(ctx, payload) }

// KnownEvents returns how many events the server knows that its tailer has not taken.
func (d *DB) KnownEvents() int {
	d.known.mu.Lock()
	defer d.known.mu.Unlock()
	return len(d.known.events)
}
