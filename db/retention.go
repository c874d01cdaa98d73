package db

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// Retention is how much of the log is kept. What goes are events alone: messages stay, with all that their
// history, edits and deliveries are decided by.
type Retention struct {
	Age    time.Duration // older events go; 0: none goes for its age
	Events int64         // how many of the newest are kept at most; 0: any number
}

// Retained counts what retention has done on this node.
type Retained struct {
	Events atomic.Int64 // removed
	Failed atomic.Int64 // runs that came to an error
}

const (
	retentionInterval = time.Minute
	// retentionBatch is as much as a transaction removes in about 10 ms.
	retentionBatch = 5000
)

// RunRetention removes what is not to be kept, until ctx ends. Every node may run it: they take turns.
func (d *DB) RunRetention(ctx context.Context, keep Retention, logger *slog.Logger) {
	if keep == (Retention{}) {
		return
	}
	var clock believed
	for told := false; ctx.Err() == nil; wait(ctx, retentionInterval) {
		start := time.Now()
		now, err := d.believe(ctx, &clock, logger)
		var removed, floor int64
		if err == nil {
			removed, floor, err = d.retain(ctx, keep, now)
		}
		if removed > 0 {
			logger.Info("old events were removed from the log", "events", removed, "floor", floor,
				"duration_ms", time.Since(start).Milliseconds())
		}
		if err == nil || ctx.Err() != nil {
			told = false
			continue
		}
		d.Retained.Failed.Add(1)
		if !told {
			logger.Error("old events are not removed and the log grows, trying on; is Postgres up, and may its user delete from events?",
				"error", err)
			told = true
		}
	}
}

// Retain removes what is not to be kept, in batches with pauses in between, and returns how many events it
// has removed, and the floor: all at or below it are gone. It stops early where another node is at it, and
// when ctx ends.
func (d *DB) Retain(ctx context.Context, keep Retention) (removed, floor int64, err error) {
	return d.retain(ctx, keep, nil)
}

// retain is Retain at a time; nil: now.
func (d *DB) retain(ctx context.Context, keep Retention, now *time.Time) (removed, floor int64, err error) {
	upTo, err := d.expired(ctx, keep, now)
	for err == nil && floor < upTo && ctx.Err() == nil {
		start := time.Now()
		var n int64
		n, floor, err = d.removeBatch(ctx, upTo)
		if n == 0 {
			break
		}
		removed += n
		d.Retained.Events.Add(n)
		wait(ctx, time.Since(start)) // at least half of the time is the writers'
	}
	return removed, floor, sentinel(err)
}

// A believed time is what retention goes by. Postgres' clock may be wrong by days, above all when a machine
// has just started, and what is removed does not come back. So the time starts at that of the newest event,
// and an hour; from there it follows the clock, but a day an hour at most. Where the clock is right that
// delays retention only after a log was quiet for long.
type believed struct {
	time time.Time // by Postgres' clock
	at   time.Time // by this machine's monotonic one
	told bool
}

const (
	believedAtOnce = time.Hour
	believedRate   = 24
	believedLag    = 24 * time.Hour // more is told
)

// believe moves the believed time on. nil: the log is empty.
func (d *DB) believe(ctx context.Context, b *believed, logger *slog.Logger) (*time.Time, error) {
	const query = `SELECT now(), (SELECT e.occurred_at FROM events e ORDER BY e.seq DESC LIMIT 1)`
	var now time.Time
	var newest *time.Time
	if err := d.conn.QueryRow(ctx, query).Scan(&now, &newest); err != nil {
		return nil, sentinel(err)
	}
	if newest == nil {
		return nil, nil
	}
	b.follow(now, *newest, time.Now())
	lag := now.Sub(b.time)
	if lag > believedLag && !b.told {
		logger.Warn("by Postgres' clock the newest event is old, so old events are removed slowly; is the clock right?",
			"clock", now, "newest_event", *newest)
	}
	b.told = lag > believedLag
	return &b.time, nil
}

// follow is given both clocks, and the time of the newest event.
func (b *believed) follow(now, newest, monotonic time.Time) {
	if b.at.IsZero() {
		b.time = newest.Add(believedAtOnce)
	} else {
		b.time = b.time.Add(believedRate * monotonic.Sub(b.at))
	}
	b.at = monotonic
	if now.Before(b.time) {
		b.time = now
	}
}

// expired is the number up to which nothing is to be kept. It is at or below the horizon: what is undecided
// has no age.
func (d *DB) expired(ctx context.Context, keep Retention, now *time.Time) (upTo int64, err error) {
	// Clocks jump, the log's order does not: it is young from the first event on that is, and an event of
	// the future is as old as its neighbours.
	const young = `
		SELECT e.seq FROM events e
		WHERE e.seq > (SELECT f.seq FROM log_floor f) AND e.seq <= $1 AND e.occurred_at BETWEEN coalesce($3, now()) - $2::interval AND now()
		ORDER BY e.seq LIMIT 1`
	const old = `
		SELECT e.seq FROM events e
		WHERE e.seq > (SELECT f.seq FROM log_floor f) AND e.seq < $1 AND e.occurred_at < coalesce($3, now()) - $2::interval
		ORDER BY e.seq DESC LIMIT 1`
	h, err := d.current(ctx, d.conn) // nothing is removed from a log that contradicts itself
	if err != nil {
		return 0, err
	}
	if keep.Events > 0 {
		upTo = h.horizon - keep.Events
	}
	if keep.Age == 0 {
		return upTo, nil
	}
	firstYoung, lastOld := h.horizon+1, int64(0)
	if err := d.conn.QueryRow(ctx, young, h.horizon, keep.Age, now).Scan(&firstYoung); err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return 0, err
	}
	if err := d.conn.QueryRow(ctx, old, firstYoung, keep.Age, now).Scan(&lastOld); err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return 0, err
	}
	return max(upTo, lastOld), nil
}

// removeBatch removes the oldest events up to upTo, and raises the floor in the same transaction: no reader
// finds a hole without it. The floor is the number of an event, not merely one that was given out: after a
// crash such a one may be given out again.
func (d *DB) removeBatch(ctx context.Context, upTo int64) (removed, floor int64, err error) {
	const lock = `SELECT pg_try_advisory_xact_lock($1, 0)`
	const batch = `
		SELECT f.seq, (SELECT max(b.seq) FROM (
			SELECT e.seq FROM events e WHERE e.seq > f.seq AND e.seq <= $1 ORDER BY e.seq LIMIT $2) AS b)
		FROM log_floor f`
	const raise, remove = `UPDATE log_floor SET seq = $1`, `DELETE FROM events WHERE seq > $1 AND seq <= $2`
	err = d.inTx(ctx, d.pool, func(ctx context.Context, tx Tx) error {
		var mine bool
		if err := tx.conn.QueryRow(ctx, lock, lockRetention).Scan(&mine); err != nil || !mine {
			return err
		}
		var last *int64
		if err := tx.conn.QueryRow(ctx, batch, upTo, retentionBatch).Scan(&floor, &last); err != nil || last == nil {
			return err
		}
		if _, err := tx.conn.Exec(ctx, raise, *last); err != nil {
			return err
		}
		gone, err := tx.conn.Exec(ctx, remove, floor, *last)
		removed, floor = gone.RowsAffected(), *last
		return err
	})
	return removed, floor, err
}
