package events

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"fabric-guild/events/histogram"
)

const (
	tailLimit    = 1000                   // events a read
	pollInterval = 250 * time.Millisecond // behind the doorbell: a lost ring costs this much, never an event
	tailTimeout  = 5 * time.Second
	// The pause between two reads, so that what comes close together is read together, and goes out in one write.
	// A read that has to ask the database costs Postgres as much as a post does, so there it is longer.
	tailPause, askPause = time.Millisecond, 3 * time.Millisecond
	// How soon to look again while a number is undecided: a writer that gave up rings no doorbell.
	pendingMin, pendingMax = time.Millisecond, 5 * time.Millisecond
	retryMin, retryMax     = 50 * time.Millisecond, 500 * time.Millisecond
)

// A Tailer reads the log in order and hands it to the router, one per node.
type Tailer struct {
	log    Log
	router *Router
	logger *slog.Logger
	bell   <-chan struct{}
	read   atomic.Pointer[time.Time] // when the log was last read; a clock that is set does not move it

	events  atomic.Int64 // how many were read
	horizon horizon
	latency histogram.Histogram
}

// NewTailer returns a tailer that goes on from the router's position. It looks when the bell says that
// something may have been committed or rolled back, and now and then without.
func NewTailer(log Log, router *Router, bell <-chan struct{}, logger *slog.Logger) *Tailer {
	t := &Tailer{log: log, router: router, logger: logger, bell: bell}
	t.readNow() // whoever knows the position has just read it
	return t
}

func (t *Tailer) readNow() {
	now := time.Now()
	t.read.Store(&now)
}

// Age is how long ago the log was last read.
func (t *Tailer) Age() time.Duration { return time.Since(*t.read.Load()) }

// Events is how many were read.
func (t *Tailer) Events() int64 { return t.events.Load() }

// Latency is the time from an event's append, by the database's clock, to its hand-over to the streams here,
// by this machine's.
func (t *Tailer) Latency() *histogram.Histogram { return &t.latency }

// Run reads until ctx ends. Errors of the log are retried for ever, and told whenever they are new ones: what
// lasts is seldom what it began with.
func (t *Tailer) Run(ctx context.Context) {
	var retry, pending time.Duration
	var told string
	for ctx.Err() == nil {
		tail, err := t.next(ctx)
		switch {
		case err != nil:
			if text := err.Error(); text != told && !errors.Is(err, context.Canceled) {
				t.logger.Error("the log cannot be read, streams wait", "error", err)
				told = text
			}
			retry = min(max(2*retry, retryMin), retryMax)
			sleep(ctx, retry, nil)
			continue
		case retry > 0:
			t.logger.Info("the log is read again")
			retry, told = 0, ""
		}
		switch {
		case len(tail.Events) == tailLimit:
			continue
		case len(tail.Events) > 0 && tail.Last == 0:
			sleep(ctx, tailPause, nil)
		case len(tail.Events) > 0:
			sleep(ctx, askPause, nil)
		}
		if !tail.Pending {
			pending = 0
			sleep(ctx, pollInterval, t.bell)
			continue
		}
		pending = min(max(2*pending, pendingMin), pendingMax)
		sleep(ctx, pending, t.bell)
	}
}

func (t *Tailer) next(ctx context.Context) (Tail, error) {
	ctx, cancel := context.WithTimeout(ctx, tailTimeout)
	defer cancel()
	tail, err := t.log.Tail(ctx, t.router.Position(), tailLimit)
	if err != nil {
		t.horizon.unseen()
		return Tail{}, err
	}
	t.readNow()
	t.horizon.see(tail, t.logger)
	if !t.router.enter(tail.Epoch, tail.Base, tail.Head) {
		// The position was beyond what this life of the database begins with: what was read after it is
		// not what follows the base. Read again from there.
		if tail.Contradiction != "" {
			t.logger.Error("the database is not the one that was read, all streams are reset; was it restored or changed by hand?",
				"contradiction", tail.Contradiction, "epoch", tail.Epoch, "head", tail.Head)
		} else {
			t.logger.Warn("the database is back without its latest events; streams beyond them are reset",
				"epoch", tail.Epoch, "base", tail.Base)
		}
		return t.next(ctx)
	}
	if t.router.expire(tail.Floor) {
		t.logger.Warn("retention has taken events that this node had not read; its streams are reset. Was it stopped, or is retention too short?",
			"floor", tail.Floor)
		return t.next(ctx)
	}
	for _, e := range tail.Events {
		t.router.publish(e)
		t.latency.Observe(time.Since(e.OccurredAt.Time))
	}
	t.events.Add(int64(len(tail.Events)))
	return tail, nil
}

// sleep waits for d or the bell. It answers false when ctx ends.
func sleep(ctx context.Context, d time.Duration, bell <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-bell:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}
