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
	for told := false; ctx.Err() == nil; wait(ctx, retentionInterval) {
		start := time.Now()
		removed, floor, err := d.Retain(ctx, keep)
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
	upTo, err := d.expired(ctx, keep)
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

// expired is the number up to which nothing is to be kept. It is at or below the horizon: what is undecided
// has no age.
func (d *DB) expired(ctx context.Context, keep Retention) (upTo int64, err error) {
	// Clocks jump, the log's order does not: it is young from the first event on that is, and an event of
	// the future is as old as its neighbours.
	const young = `
		SELECT e.seq FROM events e
		WHERE e.seq > (SELECT f.seq FROM log_floor f) AND e.seq <= $1 AND e.occurred_at BETWEEN now() - $2::interval AND now()
		ORDER BY e.seq LIMIT 1`
	const old = `
		SELECT e.seq FROM events e
		WHERE e.seq > (SELECT f.seq FROM log_floor f) AND e.seq < $1 AND e.occurred_at < now() - $2::interval
		ORDER BY e.seq DESC LIMIT 1`
	var h horizon
	if err := d.conn.QueryRow(ctx, selectHorizon).Scan(h.scan()...); err != nil {
		return 0, err
	}
	if keep.Events > 0 {
		upTo = h.horizon - keep.Events
	}
	if keep.Age == 0 {
		return upTo, nil
	}
	firstYoung, lastOld := h.horizon+1, int64(0)
	if err := d.conn.QueryRow(ctx, young, h.horizon, keep.Age).Scan(&firstYoung); err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return 0, err
	}
	if err := d.conn.QueryRow(ctx, old, firstYoung, keep.Age).Scan(&lastOld); err != nil && !errors.Is(err, pgx.ErrNoRows) {
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
	err = d.inTx(ctx, d.pool, func(ctx context.Context, q Queries) error {
		var mine bool
		if err := q.conn.QueryRow(ctx, lock, lockRetention).Scan(&mine); err != nil || !mine {
			return err
		}
		var last *int64
		if err := q.conn.QueryRow(ctx, batch, upTo, retentionBatch).Scan(&floor, &last); err != nil || last == nil {
			return err
		}
		if _, err := q.conn.Exec(ctx, raise, *last); err != nil {
			return err
		}
		gone, err := q.conn.Exec(ctx, remove, floor, *last)
		removed, floor = gone.RowsAffected(), *last
		return err
	})
	return removed, floor, err
}
