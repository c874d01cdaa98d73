package live

import (
	"sort"

	"fabric-guild/events"
)

// A ring holds the most recent events. Streams that were away for a moment read it instead of the event log:
// after a deploy all of them reconnect at once. It covers every number above floor. A ring is not safe for
// concurrent use.
type ring struct {
	events []*events.Event
	size   int   // estimated bytes of the events
	floor  int64 // the last number that the ring does not cover
}

// The bounds of the ring: about 10 s of heavy traffic, and a fixed amount of memory.
const (
	ringEvents = 16384
	ringBytes  = 64 << 20
)

// push adds the next event, and drops the oldest ones beyond the bounds.
func (r *ring) push(e *events.Event) {
	r.events = append(r.events, e)
	r.size += e.Size()
	drop := 0
	for len(r.events)-drop > ringEvents || r.size > ringBytes {
		r.size -= r.events[drop].Size()
		r.floor = r.events[drop].Cursor.Seq
		r.events[drop] = nil
		drop++
	}
	// append moves the rest to a new array when it reaches the end of this one.
	r.events = r.events[drop:]
}

// after returns at most n of the events after position at, and whether the ring reaches back that far.
func (r *ring) after(at int64, n int) ([]*events.Event, bool) {
	if at < r.floor {
		return nil, false
	}
	i := sort.Search(len(r.events), func(i int) bool { return r.events[i].Cursor.Seq > at })
	rest := r.events[i:]
	return rest[:min(n, len(rest))], true
}

// replace makes all events of the ring that refer to the message show m. Users in gone do not see the new
// content.
func (r *ring) replace(m *events.Message, gone []string) {
	from := sort.Search(len(r.events), func(i int) bool { return r.events[i].Cursor.Seq >= m.Seq })
	for i, e := range r.events[from:] {
		if e.Message != nil && e.Message.ID == m.ID {
			now := e.WithMessage(m, gone)
			r.size += now.Size() - e.Size()
			r.events[from+i] = now
		}
	}
}

// reset empties the ring. The ring then covers what comes after floor.
func (r *ring) reset(floor int64) { *r = ring{floor: floor} }
