package events

import (
	"errors"
	"maps"
	"os"
	"sync"
	"sync/atomic"
)

// Counters are what a router and its streams have done so far, for who watches them; only this package adds to
// them. Where it is hot they are added to once per event or write, whatever the number of streams, and no stream
// has any of its own.
type Counters struct {
	// Deliveries are the events that streams were offered, by where they had them from and what came of it.
	// What wakes nobody is Observer, be it a message or not; Skip is what the rules or a filter kept away. What
	// was in a queue that is dropped counts once more when it is caught up.
	Deliveries [sources][outcomes]atomic.Int64

	Writes, WrittenFrames, WrittenBytes atomic.Int64

	Overflows  atomic.Int64 // queues that were dropped: their streams catch up
	CatchingUp atomic.Int64 // streams now, those included that have just been opened

	Open     Tally // streams now, by transport
	Opened   Tally // by transport
	Closed   Tally // by reason
	Resets   Tally // stream.reset, by reason
	CatchUps Tally // of streams that had missed something, by where the first of it came from
}

// A Source is where a stream has an event from.
type Source uint8

// The sources.
const (
	SourceLive Source = iota // live, as the log is read
	SourceRing               // the most recent events, in memory
	SourceLog                // the database
	sources                  // how many there are
)

func (s Source) String() string { return [...]string{"live", "ring", "log"}[s] }

// An ending is why a stream ended without a stream.closing.
type ending uint8

const (
	disconnected ending = iota // by the client, or the network
	stalled                    // no byte was taken within WriteTimeout
	answered                   // a poll, with its answer
	flooded                    // the client sent more than inputBytes
)

func (e ending) String() string {
	return [...]string{"disconnected", "stalled", "answered", "flooded"}[e]
}

var errFlooded = errors.New("the client sends too much on its stream")

// endedBy is what an error of a transport tells.
func endedBy(err error) ending {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return stalled
	case errors.Is(err, errAnswered):
		return answered
	case errors.Is(err, errFlooded):
		return flooded
	}
	return disconnected
}

// ResetExpired is why a cursor cannot be honoured that retention has passed, as stream.reset tells it.
const ResetExpired = "expired"

// deliveries are counted while one event is offered to many.
type deliveries [outcomes]int64

// add counts what came of one event, or of one page.
func (c *Counters) add(from Source, n *deliveries) {
	for outcome, n := range n {
		if n > 0 {
			c.Deliveries[from][outcome].Add(n)
		}
	}
}

// A Tally counts by name. It is for what happens now and then: there is a lock, and each name is kept.
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

// Counts are those of the names that have come up so far.
func (t *Tally) Counts() map[string]int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.n)
}
