package live

import (
	"errors"
	"maps"
	"os"
	"sync"
	"sync/atomic"

	"fabric-guild/events"
)

// Counters count what a router and its streams have done. Only this package adds to them; anybody may read
// them at any time. On hot paths one addition serves one event or one write, whatever the number of streams.
// No stream has counters of its own.
type Counters struct {
	// Deliveries are the events that streams were offered, by source and outcome. An event that wakes nobody
	// counts as Observer, even if it is no message. Skip is what the rules or a filter kept away. Events in a
	// queue that was dropped count again when the stream catches up.
	Deliveries [sources][len(events.Outcomes)]atomic.Int64

	Writes, WrittenFrames, WrittenBytes atomic.Int64

	// Signals are those that streams took into their queues. SignalsDropped are those that they did not take,
	// because their clients were behind, and those that found no room on this server.
	Signals, SignalsDropped atomic.Int64

	Overflows  atomic.Int64 // queues that were dropped: their streams catch up
	CatchingUp atomic.Int64 // streams that catch up now, including those that have just been opened

	Open     Tally // streams that are open now, by transport
	Opened   Tally // by transport
	Closed   Tally // by reason
	Resets   Tally // stream.reset frames, by reason
	CatchUps Tally // catch-ups of streams that had missed something, by the source where the catch-up began
}

// A Source is the place where a stream got an event.
type Source uint8

// The sources.
const (
	SourceLive Source = iota // the tailer, as it reads the event log
	SourceRing               // the most recent events, in memory
	SourceLog                // the database
	sources                  // the number of sources
)

func (s Source) String() string { return [...]string{"live", "ring", "log"}[s] }

// ErrFlooded is the error with which a transport fails a session whose client sends too much on its stream.
var ErrFlooded = errors.New("the client sends too much on its stream")

// endingOf returns the ending that an error of a transport means: one of events.Endings.
func endingOf(err error) string {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return events.EndedStalled
	case errors.Is(err, errAnswered):
		return events.EndedAnswered
	case errors.Is(err, ErrFlooded):
		return events.EndedFlooded
	}
	return events.EndedDisconnected
}

// deliveries collects the outcomes of one event, or of one page, before they are added to the counters.
type deliveries [len(events.Outcomes)]int64

// add adds the outcomes of one event, or of one page.
func (c *Counters) add(from Source, n *deliveries) {
	for outcome, n := range n {
		if n > 0 {
			c.Deliveries[from][outcome].Add(n)
		}
	}
}

// A Tally counts by name. It is for rare events: it takes a lock, and it keeps each name for ever. The zero
// value is empty.
type Tally struct {
	mu sync.Mutex
	n  map[string]int64
}

func (t *Tally) add(name string, n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n == nil {
		t.n = map[string]int64{}
	}
	t.n[name] += n
}

// Counts returns a copy of the counts, by the names that were counted so far.
func (t *Tally) Counts() map[string]int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.n)
}
