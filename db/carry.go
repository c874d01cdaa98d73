package db

import (
	"context"
	"sync"

	"fabric-guild/events"
)

// The rings between servers carry the events that they know, so that a server that hears a ring need not read
// them.

// carriedBytes bounds the events that wait for the next ring. The others are left out: reading many events
// at once is cheap.
const carriedBytes = 64 << 10

// outgoing holds encoded events until the next ring carries them.
type outgoing struct {
	mu    sync.Mutex
	epoch int64 // of all of them
	texts [][]byte
	bytes int
	more  bool // the event log may have something that is not among them
}

// carry hands an event to the next ring. It drops the event if nobody would hear it, or if it does not fit:
// the ring tells the other servers to read then.
func (b *Doorbell) carry(e *events.Event) {
	if b.alone() {
		b.outgoing.omit()
		return
	}
	text := encodeEvent(e)
	b.outgoing.mu.Lock()
	defer b.outgoing.mu.Unlock()
	if b.outgoing.epoch != e.Cursor.Epoch {
		b.outgoing.more = b.outgoing.more || len(b.outgoing.texts) > 0
		b.outgoing.emptyLocked()
		b.outgoing.epoch = e.Cursor.Epoch
	}
	if len(text) > letterBytes || b.outgoing.bytes+len(text) > carriedBytes {
		b.outgoing.more = true
		return
	}
	b.outgoing.texts = append(b.outgoing.texts, text)
	b.outgoing.bytes += len(text)
}

// omit notes that the event log may have something that the next ring does not carry.
func (o *outgoing) omit() {
	o.mu.Lock()
	o.more = true
	o.mu.Unlock()
}

func (o *outgoing) emptyLocked() {
	o.texts = nil
	o.bytes = 0
}

// take removes and returns the events that wait. more says that the other servers must read as well.
func (o *outgoing) take() (epoch int64, texts [][]byte, more bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	epoch = o.epoch
	texts = o.texts
	more = o.more
	o.emptyLocked()
	o.more = false
	return epoch, texts, more
}

// rings returns the payloads of the next ring: letters with the events, and the bare name of this server if
// there is more to read. There are none if the last ring had everything.
func (d *DB) rings(ctx context.Context) []string {
	epoch, texts, more := d.outgoing.take()
	payloads := d.letters(ctx, epoch, letterEvents, texts)
	if more || len(texts) > 0 && len(payloads) == 0 {
		payloads = append(payloads, d.node)
	}
	return payloads
}

// knows takes events that this server has committed: for its own tailer, and for the next ring.
func (d *DB) knows(committed ...*events.Event) {
	for _, e := range committed {
		d.carry(e) // first: the tailer shares the event from add on
	}
	d.known.add(committed...)
}

// hearEvents takes the events that the ring of another server carries. It returns false if they are malformed
// or of another epoch. Then they must be read.
func (d *DB) hearEvents(l letter) bool {
	found := decodeEvents(l.text)
	for _, e := range found {
		if e.Cursor.Epoch != l.epoch || e.Cursor.Seq <= 0 {
			return false
		}
	}
	d.known.add(found...)
	return len(found) > 0
}
