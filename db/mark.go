package db

import (
	"fmt"
	"sync"

	"fabric-guild/events"
)

// A mark is the event that the tailer read last. As long as the database is the same, the event is still
// there, or retention has taken it.
type mark struct {
	mu     sync.Mutex
	cursor events.Cursor
	at     *events.Time // when the event occurred; nil: there was none at the cursor
}

// set notes the event that was read last.
func (m *mark) set(e *events.Event) { m.see(e.Cursor, &e.OccurredAt) }

// see notes what is at a position.
func (m *mark) see(cursor events.Cursor, at *events.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cursor, m.at = cursor, at
}

// contradiction says why the log cannot be the one in which a position was read. It is empty if it can be.
// at is when the event at the position occurred, nil if there is none.
func (m *mark) contradiction(position events.Cursor, h *horizon, floor int64, at *events.Time) string {
	if h.last < position.Seq {
		return fmt.Sprintf("the sequence is at %d, and this node has read up to %d", h.last, position.Seq)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.cursor != position, floor >= position.Seq:
		return ""
	case m.at == nil && at == nil, m.at != nil && at != nil && m.at.Equal(at.Time):
		return ""
	case at == nil:
		return fmt.Sprintf("event %d, which this node has read, is not there", position.Seq)
	}
	return fmt.Sprintf("event %d is another one than this node has read", position.Seq)
}
