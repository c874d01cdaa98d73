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
	// The time from one publication to the next at least. Events that come close together are then sent in
	// one write.
	tailPause = time.Millisecond
	// The time from a read that found events to the next read at least: a read costs Postgres as much as a
	// post does. Events that are known do not wait for it.
	askPause = 3 * time.Millisecond
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

	mu    sync.Mutex // held from reading the position until what follows it is published
	sent  time.Time  // when an event last reached a stream; guarded by mu
	found time.Time  // when a read last found events, and no full page of them; guarded by mu

	events  atomic.Int64 // the number of events that were read
	horizon horizon
	latency histogram.Histogram
}

// NewTailer returns a tailer that continues from the router's position. When bell says that a transaction may
// have committed or rolled back, it publishes what the log knows, and reads if the log says so. Without that
// it reads every pollInterval.
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
	var retry, backoff time.Duration
	var until time.Time // how long to wait for a number that is missing; zero: none is
	var told string
	for why := polled; ctx.Err() == nil; {
		tail, err := t.next(ctx, why)
		switch {
		case err != nil:
			text := err.Error()
			if text != told && !errors.Is(err, context.Canceled) {
				t.logger.Error("event log read failed; streams are paused until it succeeds", "error", err)
				told = text
			}
			retry = min(max(2*retry, retryMin), retryMax)
			sleep(ctx, retry, nil)
			why = polled
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
			why = polled
			continue
		case len(tail.Events) > 0:
			pause = tailPause
		}
		if tail.Pending {
			// A ring that brings nothing that follows must not put off the read.
			if until.IsZero() || tail.Last > 0 || len(tail.Events) > 0 {
				backoff = min(max(2*backoff, pendingMin), pendingMax)
				until = began.Add(pause + backoff)
			}
			sleep(ctx, pause, nil)
			sleep(ctx, time.Until(until), t.bell)
			if why = rang; !time.Now().Before(until) {
				why = missed
			}
			continue
		}
		backoff = 0
		until = time.Time{}
		why = t.await(ctx)
		// A pause that comes after the bell costs no wakeup if the bell rings late enough.
		if left := max(pause-time.Since(began), t.pause()); left > 0 {
			sleep(ctx, left, nil)
		}
	}
}

// A cause is why the tailer looks for events.
type cause int

const (
	rang   cause = iota // the bell rang: it reads if the log says so
	missed              // it has waited for a number that is missing: it reads if it still is
	polled              // it reads
)

// await blocks until the bell rings, or until nothing has been read for pollInterval.
func (t *Tailer) await(ctx context.Context) cause {
	timer := time.NewTimer(pollInterval)
	defer timer.Stop()
	for {
		select {
		case <-t.bell:
			return rang
		case <-ctx.Done():
			return polled
		case <-timer.C:
		}
		left := pollInterval - t.Age() // Take reads too
		if left <= 0 {
			return polled
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

// Take publishes the events that the log knows without a read. It returns false if the tailer must look: it
// is at work, the streams got events just before, a number is missing, or the event log must be read. Unlike
// the tailer, Take works on the goroutine that heard the events: waking another one costs more than
// publishing an event that nobody on this server hears.
func (t *Tailer) Take() bool {
	if !t.mu.TryLock() {
		return false
	}
	defer t.mu.Unlock()
	if time.Since(t.sent) < tailPause {
		return false
	}
	tail := t.knownLocked()
	return !tail.Pending && !tail.Unread && len(tail.Events) < tailLimit
}

// knownLocked publishes the events that the log knows without a read.
func (t *Tailer) knownLocked() events.Tail {
	tail := t.log.Known(t.router.Position(), tailLimit)
	if len(tail.Events) > 0 {
		t.readNow()
		t.horizon.see(tail, t.logger)
		t.publishLocked(tail.Events)
	}
	return tail
}

// next publishes the next events. It reads them if they are not known, and if why or the log says that it
// must.
func (t *Tailer) next(ctx context.Context, why cause) (events.Tail, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	tail := t.knownLocked()
	if len(tail.Events) == tailLimit {
		return tail, nil
	}
	idle := len(tail.Events) == 0
	if tail.Unread || idle && (why == polled || why == missed && tail.Pending) {
		t.awaitReadLocked(ctx)
		ctx, cancel := context.WithTimeout(ctx, tailTimeout)
		defer cancel()
		return t.readLocked(ctx)
	}
	return tail, nil
}

// awaitReadLocked waits until the event log may be read again, and publishes what becomes known meanwhile. It
// releases t.mu while it waits.
func (t *Tailer) awaitReadLocked(ctx context.Context) {
	for ctx.Err() == nil {
		left := askPause - time.Since(t.found)
		if left <= 0 {
			return
		}
		t.mu.Unlock()
		sleep(ctx, min(left, tailPause), nil)
		t.mu.Lock()
		t.knownLocked()
	}
}

// readLocked reads the next events and publishes them.
func (t *Tailer) readLocked(ctx context.Context) (events.Tail, error) {
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
		return t.readLocked(ctx)
	}
	if t.router.expire(tail.Floor) {
		t.logger.Warn("retention removed events that this server had not read; its streams are reset. Was "+
			"the server stopped, or is retention too short?",
			"floor", tail.Floor)
		return t.readLocked(ctx)
	}
	t.publishLocked(tail.Events)
	if n := len(tail.Events); n > 0 && n < tailLimit {
		t.found = time.Now()
	}
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
