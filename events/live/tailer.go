package live

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"fabric-guild/events"
	"fabric-guild/events/histogram"
)

const (
	tailLimit    = 1000                   // events per read
	pollInterval = 250 * time.Millisecond // a lost doorbell costs this delay, and never an event
	tailTimeout  = 5 * time.Second
	// The time from one read to the next at least. Events that come close together are then read together and
	// sent in one write. askPause follows a read that needed the horizon: it costs Postgres as much as a post
	// does.
	tailPause = time.Millisecond
	askPause  = 3 * time.Millisecond
	// The backoff between reads while a number is undecided: a writer that crashed rings no doorbell. A
	// shorter one would read what a ring is about to bring, and find the next number undecided.
	pendingMin = 5 * time.Millisecond
	pendingMax = 20 * time.Millisecond
	// The backoff after errors.
	retryMin = 50 * time.Millisecond
	retryMax = 500 * time.Millisecond
)

// A Tailer reads the event log in order and publishes it to the router. A server has one.
type Tailer struct {
	log    Log
	router *Router
	logger *slog.Logger
	bell   <-chan struct{}
	read   atomic.Pointer[time.Time] // the time of the last read, by the monotonic clock

	mu   sync.Mutex // held from reading the position until what follows it is published
	sent time.Time  // when an event last reached a stream; guarded by mu

	events  atomic.Int64 // the number of events that were read
	horizon horizon
	latency histogram.Histogram
}

// NewTailer returns a tailer that continues from the router's position. It reads when bell says that a
// transaction may have committed or rolled back, and every pollInterval without that.
func NewTailer(log Log, router *Router, bell <-chan struct{}, logger *slog.Logger) *Tailer {
	t := &Tailer{log: log, router: router, logger: logger, bell: bell}
	t.readNow() // the caller has just read the router's position from the event log
	return t
}

// readNow notes that the event log was read.
func (t *Tailer) readNow() {
	now := time.Now()
	t.read.Store(&now)
}

// Age returns the time since the event log was last read.
func (t *Tailer) Age() time.Duration { return time.Since(*t.read.Load()) }

// Events returns the number of events that were read.
func (t *Tailer) Events() int64 { return t.events.Load() }

// Latency returns the times from an event's append, by the database's clock, to its publication here, by this
// machine's clock.
func (t *Tailer) Latency() *histogram.Histogram { return &t.latency }

// Run reads until ctx ends. It retries errors of the event log for ever. It logs an error when its text is
// new, because the error that lasts is seldom the first one.
func (t *Tailer) Run(ctx context.Context) {
	var retry, pending time.Duration
	var told string
	for ctx.Err() == nil {
		tail, err := t.next(ctx)
		switch {
		case err != nil:
			text := err.Error()
			if text != told && !errors.Is(err, context.Canceled) {
				t.logger.Error("event log read failed; streams are paused until it succeeds", "error", err)
				told = text
			}
			retry = min(max(2*retry, retryMin), retryMax)
			sleep(ctx, retry, nil)
			continue
		case retry > 0:
			t.logger.Info("the event log is read again")
			retry = 0
			told = ""
		}
		began := time.Now()
		pause := time.Duration(0)
		switch {
		case len(tail.Events) == tailLimit:
			continue
		case len(tail.Events) > 0 && tail.Last == 0:
			pause = tailPause
		case len(tail.Events) > 0:
			pause = askPause
		}
		if tail.Pending {
			pending = min(max(2*pending, pendingMin), pendingMax)
			sleep(ctx, pause, nil)
			sleep(ctx, pending, t.bell)
			continue
		}
		pending = 0
		t.await(ctx)
		// A pause that comes after the bell costs no wakeup if the bell rings late enough.
		if left := max(pause-time.Since(began), t.pause()); left > 0 {
			sleep(ctx, left, nil)
		}
	}
}

// await blocks until the bell rings, or until nothing has been read for pollInterval.
func (t *Tailer) await(ctx context.Context) {
	timer := time.NewTimer(pollInterval)
	defer timer.Stop()
	for {
		select {
		case <-t.bell:
			return
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		left := pollInterval - t.Age() // Take reads too
		if left <= 0 {
			return
		}
		timer.Reset(left)
	}
}

// pause returns for how long events should still wait for others, so that streams get them in one write.
func (t *Tailer) pause() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return tailPause - time.Since(t.sent)
}

// Take publishes the events that the log knows without a read. It returns false if the tailer must look:
// there are none, it is at work, or the streams got events just before. Unlike the tailer, Take works on the
// goroutine that heard the events: waking another one costs more than publishing an event that nobody on this
// server hears.
func (t *Tailer) Take(known func(after events.Cursor, limit int) events.Tail) bool {
	if !t.mu.TryLock() {
		return false
	}
	defer t.mu.Unlock()
	if time.Since(t.sent) < tailPause {
		return false
	}
	tail := known(t.router.Position(), tailLimit)
	if len(tail.Events) == 0 {
		return false
	}
	t.readNow()
	t.publishLocked(tail.Events)
	return !tail.Pending && len(tail.Events) < tailLimit
}

// next reads the next events and publishes them.
func (t *Tailer) next(ctx context.Context) (events.Tail, error) {
	ctx, cancel := context.WithTimeout(ctx, tailTimeout)
	defer cancel()
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.nextLocked(ctx)
}

func (t *Tailer) nextLocked(ctx context.Context) (events.Tail, error) {
	tail, err := t.log.Tail(ctx, t.router.Position(), tailLimit)
	if err != nil {
		t.horizon.unseen()
		return events.Tail{}, err
	}
	t.readNow()
	t.horizon.see(tail, t.logger)
	if !t.router.enter(tail.Epoch, tail.Base, tail.Head) {
		// The position was beyond the beginning of the new epoch, so the events that were read do not follow
		// that beginning. Read again from there.
		if tail.Contradiction != "" {
			t.logger.Error("the database is not the one that was read, all streams are reset; was it "+
				"restored or changed by hand?",
				"contradiction", tail.Contradiction, "epoch", tail.Epoch, "head", tail.Head)
		} else {
			t.logger.Warn("the database is back without its latest events; streams beyond them are reset",
				"epoch", tail.Epoch, "base", tail.Base)
		}
		return t.nextLocked(ctx)
	}
	if t.router.expire(tail.Floor) {
		t.logger.Warn("retention removed events that this server had not read; its streams are reset. Was "+
			"the server stopped, or is retention too short?",
			"floor", tail.Floor)
		return t.nextLocked(ctx)
	}
	t.publishLocked(tail.Events)
	return tail, nil
}

func (t *Tailer) publishLocked(found []*events.Event) {
	reached := false
	for _, e := range found {
		reached = t.router.publish(e) || reached
		t.latency.Observe(time.Since(e.OccurredAt.Time))
	}
	if reached {
		t.sent = time.Now()
	}
	t.events.Add(int64(len(found)))
}
