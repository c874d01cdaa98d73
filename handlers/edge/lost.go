package edge

import (
	"maps"
	"slices"
	"time"
)

const (
	// lostAfter is for how long a peer may acknowledge nothing of what it was sent.
	lostAfter = time.Minute
	lostCheck = lostAfter / 4
)

// closeLost closes the connections of peers that have disappeared without a word, until the listener is
// closed. By default the system waits a quarter of an hour for an acknowledgement. Its option for this,
// TCP_USER_TIMEOUT, also closes the connection of a client that reads slowly but steadily: what counts is how
// long the client has had no room for a whole segment, however much it takes meanwhile.
func (l *Listener) closeLost() {
	tick := time.NewTicker(lostCheck)
	defer tick.Stop()
	for {
		select {
		case <-l.closed:
			return
		case <-tick.C:
		}
		for _, c := range l.opened() {
			owes, acked := unacknowledged(c.TCPConn)
			if c.silence.lasts(time.Now(), owes, acked) >= lostAfter {
				_ = c.Close()
			}
		}
	}
}

// opened returns the open connections.
func (l *Listener) opened() []*connection {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.all))
}

// A silence is the time during which a peer acknowledges nothing although something was sent to it. Its zero
// value is none.
type silence struct{ since time.Time }

// lasts returns how long the silence lasts at least. owes says that something is not acknowledged now. acked
// is how long ago the last acknowledgement came.
func (s *silence) lasts(now time.Time, owes bool, acked time.Duration) time.Duration {
	switch {
	case !owes:
		s.since = time.Time{}
		return 0
	case s.since.IsZero() || acked < now.Sub(s.since):
		s.since = now
	}
	return now.Sub(s.since)
}
