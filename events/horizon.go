package events

import (
	"log/slog"
	"sync/atomic"
	"time"
)

// HeldTooLong is longer than any transaction of ours can hold the horizon: each has a timeout.
const HeldTooLong = 20 * time.Second

// A horizon is watched as the tailer sees it: while it stands still before numbers that were given out, no
// stream moves.
type horizon struct {
	undecided atomic.Int64              // numbers beyond it
	held      atomic.Pointer[time.Time] // since when it stands still; nil: it does not

	// The tailer's own.
	highest int64
	told    bool
}

// Undecided is how many numbers had been given out beyond the horizon when the log was last read.
func (t *Tailer) Undecided() int64 { return t.horizon.undecided.Load() }

// Held is for how long the horizon has stood still because a transaction which drew a number does not end: its
// age is that at least. 0: nothing holds it, or the log cannot be read.
func (t *Tailer) Held() time.Duration {
	if since := t.horizon.held.Load(); since != nil {
		return time.Since(*since)
	}
	return 0
}

// see notes what was read. While something is undecided the horizon may also step back.
func (h *horizon) see(tail Tail, logger *slog.Logger) {
	undecided := tail.Last - tail.Horizon // without a look at it none that is known
	h.undecided.Store(undecided)
	now, since := time.Now(), h.held.Load()
	if undecided == 0 || tail.Horizon > h.highest {
		if since = nil; tail.Last > 0 {
			h.highest = tail.Horizon
		}
		if h.told {
			logger.Info("the horizon moves again")
		}
		h.told = false
	}
	if undecided > 0 && since == nil {
		since = &now
	}
	h.held.Store(since)
	if since != nil && now.Sub(*since) >= HeldTooLong && !h.told {
		h.told = true
		logger.Error("a transaction has appended to the event log and does not end; streams wait. The page operate (Health) says how to find it",
			"horizon", tail.Horizon, "undecided", undecided)
	}
}

// unseen forgets since when the horizon has stood still: while the log cannot be read, that is not known.
func (h *horizon) unseen() { h.held.Store(nil) }
