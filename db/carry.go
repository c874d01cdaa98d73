package db

import (
	"context"
	"sync"

	"fabric-guild/events"
)

// The rings between servers carry the events of posts, so that a server that hears a ring need not read them.

// carriedBytes bounds the events that wait for the next ring. The others are left out: reading many events
// at once is cheap.
const carriedBytes = 64 << 10

// outgoing holds the encoded events of posts until the next ring carries them.
type outgoing struct {
	mu    sync.Mutex
	epoch int64 // of all of them
	texts [][]byte
	bytes int
}

// carry hands the event of a post to the next ring. It drops the event if nobody would hear it, or if it does
// not fit: the other servers read it then.
func (b *Doorbell) carry(e *events.Event) {
	if b.alone() {
		return
	}
	text := encodeEvent(e)
	b.outgoing.mu.Lock()
	defer b.outgoing.mu.Unlock()
	if b.outgoing.epoch != e.Cursor.Epoch {
		b.outgoing.emptyLocked()
		b.outgoing.epoch = e.Cursor.Epoch
	}
	if len(text) <= letterBytes && b.outgoing.bytes+len(text) <= carriedBytes {
		b.outgoing.texts = append(b.outgoing.texts, text)
		b.outgoing.bytes += len(text)
	}
}

func (o *outgoing) emptyLocked() {
	o.texts = nil
	o.bytes = 0
}

// take removes and returns the events that wait.
func (o *outgoing) take() (epoch int64, texts [][]byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	epoch = o.epoch
	texts = o.texts
	o.emptyLocked()
	return epoch, texts
}

// rings returns the payloads of the next ring. If the events cannot be sealed, the ring carries none.
func (d *DB) rings(ctx context.Context) []string {
	epoch, texts := d.outgoing.take()
	if payloads := d.letters(ctx, epoch, letterEvents, texts); len(payloads) > 0 {
		return payloads
	}
	return []string{d.node}
}

// hearEvents takes the events that the ring of another server carries. It ignores events of another epoch and
// malformed ones. Those events are read.
func (d *DB) hearEvents(l letter) {
	found := decodeEvents(l.text)
	for _, e := range found {
		if e.Cursor.Epoch != l.epoch || e.Cursor.Seq <= 0 {
			return
		}
	}
	d.known.add(found...)
}
