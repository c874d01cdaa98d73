package db

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"time"

	"fabric-guild/events"
)

// Signals travel between servers by NOTIFY, on the doorbell's connection. Nothing is stored. A signal may be
// lost: then the other servers do not show it.

const (
	// MaxNote is how long an encoded signal may be.
	MaxNote = letterBytes

	outboxNotes = 1024                  // signals that wait, of all topics
	outboxBatch = 200                   // signals of one transaction
	outboxPause = 50 * time.Millisecond // between two transactions
)

// An outbox holds the signals for the other servers until they are sent: the latest one of each topic.
type outbox struct {
	ready chan struct{}

	mu    sync.Mutex
	notes map[events.Topic]*events.Signal // mu guards it
}

func newOutbox() outbox {
	return outbox{ready: make(chan struct{}, 1), notes: map[events.Topic]*events.Signal{}}
}

// Send hands a signal to the other servers. It never blocks. It drops the signal if there is no other server,
// or if too many signals wait. The signal's encoding must have at most MaxNote bytes.
func (b *Doorbell) Send(s *events.Signal) {
	if b.alone() {
		return
	}
	b.outbox.mu.Lock()
	topic := s.Topic()
	if b.outbox.notes[topic] != nil || len(b.outbox.notes) < outboxNotes {
		b.outbox.notes[topic] = s
	}
	b.outbox.mu.Unlock()
	signal(b.outbox.ready)
}

// OnSignal sets the function that gets the signals of other servers. It must not block. Without it they are
// dropped.
func (b *Doorbell) OnSignal(hear func(*events.Signal)) { b.hear.Store(&hear) }

// take removes and returns up to outboxBatch of the signals that wait. more says that others are left.
func (o *outbox) take() (notes [][]byte, more bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for topic, s := range o.notes {
		if len(notes) == outboxBatch {
			return notes, true
		}
		delete(o.notes, topic)
		if line := s.Encode(); len(line) <= MaxNote {
			notes = append(notes, line)
		}
	}
	return notes, false
}

// sendSignals sends the signals of the outbox until ctx ends. If it fails, the signals are lost.
func (d *DB) sendSignals(ctx context.Context) {
	for {
		select {
		case <-d.outbox.ready:
		case <-ctx.Done():
			return
		}
		for more := true; more && ctx.Err() == nil; wait(ctx, outboxPause) {
			var notes [][]byte
			if notes, more = d.outbox.take(); len(notes) == 0 {
				break
			}
			_ = d.notify(ctx, d.letters(ctx, d.epoch.Load(), letterSignals, notes))
		}
	}
}

// hearSignals passes on the signals that another server has sent.
func (d *DB) hearSignals(text string) {
	hear := d.hear.Load()
	if hear == nil {
		return
	}
	for in := json.NewDecoder(strings.NewReader(text)); ; {
		var s events.Signal
		if in.Decode(&s) != nil || !json.Valid(s.Data) {
			return
		}
		(*hear)(&s)
	}
}

// HasOthers reports whether there may be another server that hears this one.
func (b *Doorbell) HasOthers() bool { return !b.alone() }
