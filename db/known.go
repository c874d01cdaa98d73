package db

import (
	"sync"
	"time"

	"fabric-guild/events"
)

const (
	// Bounds of the events that are known and not taken: a server whose tailer does not take them keeps no
	// more.
	knownEvents = 4096
	knownBytes  = 16 << 20

	// knownTaken is how many of the latest events are remembered, to tell a late notification from a number
	// that was given out again.
	knownTaken = 8192

	// A server that always knows the next event still reads the event log this often. So it finds out that
	// the database is not the one that the events come from.
	knownFor = time.Second
)

// known holds events that were committed and that this server's tailer has not taken yet: its own, and those
// that other servers' notifications carry. Events that follow the tailer's position without a gap are exactly
// what the event log holds there: no other event of the epoch has those numbers. So the tailer need not read
// their rows. Everything else is read.
type known struct {
	mu     sync.Mutex
	events map[int64]*events.Event
	bytes  int                  // the sum of their sizes
	taken  [knownTaken]identity // of the latest events, by number modulo knownTaken
	since  time.Time            // the first run after the last read; zero: none
	// doubt says that the event log may have something since the last read that is not here and that no
	// number shows: only a read can tell.
	doubt bool
	// given is the last number that a read knew to be given out, if some were undecided; zero: none were. As
	// long as the position is below it, something is missing.
	given events.Cursor
}

// suspect notes that the event log may have something that is not here.
func (k *known) suspect() {
	k.mu.Lock()
	k.doubt = true
	k.mu.Unlock()
}

// ask notes that a read begins. It finds whatever there was a doubt about. A read that fails must suspect.
func (k *known) ask() {
	k.mu.Lock()
	k.doubt = false
	k.mu.Unlock()
}

// An identity distinguishes an event from another one that got the same number.
type identity struct {
	cursor events.Cursor
	at     int64 // when the event occurred, in microseconds
}

func identify(e *events.Event) identity { return identity{e.Cursor, e.OccurredAt.UnixMicro()} }

// add notes events that were committed.
func (k *known) add(found ...*events.Event) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, e := range found {
		if was := k.events[e.Cursor.Seq]; was != nil {
			if was.Cursor.Epoch > e.Cursor.Epoch {
				continue
			}
			k.dropLocked(was)
			if was.Cursor.Epoch == e.Cursor.Epoch && identify(was) != identify(e) {
				k.doubt = true
				continue // the number was given out twice: only a read can tell which one counts
			}
		}
		if len(k.events) >= knownEvents || k.bytes+e.Size() > knownBytes {
			clear(k.events)
			k.bytes = 0
			k.doubt = true
		}
		k.events[e.Cursor.Seq] = e
		k.bytes += e.Size()
		if e.Message != nil && e.Message.Bound == events.BoundTripped {
			k.doubt = true // guard.tripped follows
		}
	}
}

// dropLocked removes an event. k.mu is held.
func (k *known) dropLocked(e *events.Event) {
	delete(k.events, e.Cursor.Seq)
	k.bytes -= e.Size()
}

// after removes and returns the events that follow a position without a gap, in the same epoch. pending says
// that a number after them is missing: a ring may be about to bring it. unread says that the event log must
// be read after them.
//
// There are no events, and a read is needed, if there is an event at or below the position that is not the
// one that was taken there: the number may have been given out a second time, and only a read can tell.
func (k *known) after(at events.Cursor, limit int) (run []*events.Event, pending, unread bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	again, newer := false, false
	for seq, e := range k.events {
		switch {
		case e.Cursor.Epoch < at.Epoch:
			k.dropLocked(e)
		case e.Cursor.Epoch > at.Epoch:
			newer = true
		case seq <= at.Seq:
			again = again || e.Cursor.Epoch == at.Epoch && k.taken[seq%knownTaken] != identify(e)
			k.dropLocked(e)
		}
	}
	k.doubt = k.doubt || again || !k.since.IsZero() && time.Since(k.since) > knownFor
	if again {
		return nil, false, true
	}
	for next := at.Seq + 1; len(run) < limit; next++ {
		e := k.events[next]
		if e == nil || e.Cursor.Epoch != at.Epoch {
			break
		}
		k.dropLocked(e)
		run = append(run, e)
	}
	k.tookLocked(run)
	if len(run) > 0 && k.since.IsZero() {
		k.since = time.Now()
	}
	reached := at.Seq + int64(len(run))
	pending = len(k.events) > 0 || k.given.Epoch == at.Epoch && reached < k.given.Seq
	return run, pending, k.doubt || newer
}

// tookLocked remembers events that the tailer takes. k.mu is held.
func (k *known) tookLocked(run []*events.Event) {
	for _, e := range run {
		k.taken[e.Cursor.Seq%knownTaken] = identify(e)
	}
}

// read notes the events of a read, and drops what the read included: the events at or below its horizon. last
// is the last number that was given out. full says that the page was full. Then only another read can tell
// what follows it, also if a late ring brings the next event.
func (k *known) read(epoch, horizon, last int64, found []*events.Event, full bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.doubt = k.doubt || full
	k.since = time.Time{}
	k.given = events.Cursor{}
	if horizon < last {
		k.given = events.Cursor{Epoch: epoch, Seq: last}
	}
	k.tookLocked(found)
	for seq, e := range k.events {
		if seq <= horizon && e.Cursor.Epoch <= epoch {
			k.dropLocked(e)
		}
	}
}
