package db

import (
	"fmt"
	"sync"

	"fabric-guild/events"
)

// A mark is the event that the tailer read last. In the same database the event is still there, or retention
// has removed it.
type mark struct {
	mu     sync.Mutex
	cursor events.Cursor
	at     *events.Time // when the event occurred; nil: there was no event at the cursor
}

// set stores the event that was read last.
func (m *mark) set(e *events.Event) { m.see(e.Cursor, &e.OccurredAt) }

// see stores what is at a position.
func (m *mark) see(cursor events.Cursor, at *events.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cursor, m.at = cursor, at
}

// contradiction says why the event log cannot be the one in which position was read. It is empty if it can
// be. at is when the event at the position occurred, nil if there is no event.
func (m *mark) contradiction(position events.Cursor, h *horizon, floor int64, at *events.Time) string {
	if h.last < position.Seq {
		return fmt.Sprintf("the sequence is at %d, and this server has read up to %d", h.last, position.Seq)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.cursor != position, floor >= position.Seq:
		return ""
	case m.at == nil && at == nil, m.at != nil && at != nil && m.at.Equal(at.Time):
		return ""
	case at == nil:
		return fmt.Sprintf("event %d, which this server has read, does not exist", position.Seq)
	}
	return fmt.Sprintf("event %d is not the event that this server has read", position.Seq)
}
