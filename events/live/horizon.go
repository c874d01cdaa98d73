package live

import (
	"log/slog"
	"sync/atomic"
	"time"

	"fabric-guild/events"
)

// HeldTooLong is longer than any transaction of this program can hold the horizon: each of them has a
// timeout.
const HeldTooLong = 20 * time.Second

// A horizon watches the horizon as the tailer sees it. While the horizon stands still before numbers that
// were given out, no stream moves.
type horizon struct {
	undecided atomic.Int64              // the count of numbers beyond the horizon
	held      atomic.Pointer[time.Time] // the time since when the horizon stands still; nil: it does not

	// Only the tailer uses these.
	highest int64
	told    bool // the log has a line about it
}

// Undecided returns how many numbers had been given out beyond the horizon at the last read of the event log.
func (t *Tailer) Undecided() int64 { return t.horizon.undecided.Load() }

// Held returns for how long the horizon has stood still because a transaction that drew a number does not
// end. That transaction is at least so old. Held returns 0 if nothing holds the horizon, or if the event log
// cannot be read.
func (t *Tailer) Held() time.Duration {
	if since := t.horizon.held.Load(); since != nil {
		return time.Since(*since)
	}
	return 0
}

// see notes the result of a read. The horizon may also step back while a number is undecided.
func (h *horizon) see(tail events.Tail, logger *slog.Logger) {
	undecided := tail.Last - tail.Horizon // 0 if the read did not need the horizon
	h.undecided.Store(undecided)
	now := time.Now()
	since := h.held.Load()
	if undecided == 0 || tail.Horizon > h.highest {
		since = nil
		if tail.Last > 0 {
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
		logger.Error("a transaction has appended to the event log and does not end; streams wait. The page "+
			"operate (Health) says how to find it",
			"horizon", tail.Horizon, "undecided", undecided)
	}
}

// unseen forgets since when the horizon has stood still: nobody knows that while the event log cannot be
// read.
func (h *horizon) unseen() { h.held.Store(nil) }
