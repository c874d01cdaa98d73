package db

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// Retention says how much of the event log to keep. Retention removes only events. Messages stay, with
// everything that decides their history, edits and deliveries.
type Retention struct {
	Age    time.Duration // events that are older are removed; 0: no limit
	Events int64         // how many events to keep at most, the newest ones; 0: no limit
}

// Retained counts the work of retention on this server.
type Retained struct {
	Events atomic.Int64 // removed
	Failed atomic.Int64 // runs that failed
}

const (
	retentionInterval = time.Minute
	// retentionBatch is how many events a transaction removes in about 10 ms.
	retentionBatch = 5000
)

// RunRetention removes old events once a minute, until ctx ends. Every server may run it: a lock makes them
// take turns.
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
			logger.Info("retention removed old events", "events", removed, "floor", floor,
				"duration_ms", time.Since(start).Milliseconds())
		}
		if err == nil || ctx.Err() != nil {
			told = false
			continue
		}
		d.Retained.Failed.Add(1)
		if !told {
			logger.Error("retention failed and the event log grows; it is tried again in a minute; "+
				"is Postgres up, and may its user delete from events?", "error", err)
			told = true
		}
	}
}

// Retain removes old events, in batches with pauses in between. It returns how many events it removed, and
// the floor: events at or below it are gone. It stops early if another server is removing events, or if ctx
// ends.
func (d *DB) Retain(ctx context.Context, keep Retention) (removed, floor int64, err error) {
	return d.retain(ctx, keep, nil)
}

// retain is Retain at a given time; nil means now.
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
		wait(ctx, time.Since(start)) // leaves writers at least half of the time
	}
	return removed, floor, sentinel(err)
}

// A believed time is the time that retention uses. Postgres' clock may be wrong by days, especially when a
// machine has just started, and removed events cannot be restored. So the believed time starts one hour after
// the newest event. From there it follows the clock, but by at most one day per hour. If the clock is right,
// this delays retention only after the event log was quiet for long.
type believed struct {
	time time.Time // by Postgres' clock
	at   time.Time // by this machine's monotonic clock
	told bool
}

const (
	believedAtOnce = time.Hour
	believedRate   = 24
	believedLag    = 24 * time.Hour // a longer lag is logged
)

// believe moves the believed time forward. It returns nil if the event log is empty.
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
		logger.Warn("newest event is old by Postgres' clock, so retention removes events slowly; "+
			"is the clock right?", "clock", now, "newest_event", *newest)
	}
	b.told = lag > believedLag
	return &b.time, nil
}

// follow moves the believed time by both clocks and the time of the newest event.
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

// expired returns the number up to which events must be removed. It is at or below the horizon: an undecided
// number has no age.
func (d *DB) expired(ctx context.Context, keep Retention, now *time.Time) (upTo int64, err error) {
	// Clocks jump, but the order of the event log does not. The event log is young from its first young event
	// on. An event with a time in the future is as old as its neighbours.
	const young = `
		SELECT e.seq FROM events e
		WHERE e.seq > (SELECT f.seq FROM log_floor f) AND e.seq <= $1
			AND e.occurred_at BETWEEN coalesce($3, now()) - $2::interval AND now()
		ORDER BY e.seq LIMIT 1`
	const old = `
		SELECT e.seq FROM events e
		WHERE e.seq > (SELECT f.seq FROM log_floor f) AND e.seq < $1
			AND e.occurred_at < coalesce($3, now()) - $2::interval
		ORDER BY e.seq DESC LIMIT 1`
	h, err := d.current(ctx, d.conn) // removes nothing from an event log that contradicts itself
	if err != nil {
		return 0, err
	}
	if keep.Events > 0 {
		upTo = h.horizon - keep.Events
	}
	if keep.Age == 0 {
		return upTo, nil
	}
	firstYoung := h.horizon + 1
	var lastOld int64
	err = d.conn.QueryRow(ctx, young, h.horizon, keep.Age, now).Scan(&firstYoung)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return 0, err
	}
	err = d.conn.QueryRow(ctx, old, firstYoung, keep.Age, now).Scan(&lastOld)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return 0, err
	}
	return max(upTo, lastOld), nil
}

// removeBatch removes the oldest events up to upTo, and raises the floor in the same transaction. So no
// reader finds a hole above the floor. The floor is the number of an event. A number that was only given out
// would not do: after a crash it may be given out again.
func (d *DB) removeBatch(ctx context.Context, upTo int64) (removed, floor int64, err error) {
	const lock = `SELECT pg_try_advisory_xact_lock($1, 0)`
	const batch = `
		SELECT f.seq, (SELECT max(b.seq) FROM (
			SELECT e.seq FROM events e WHERE e.seq > f.seq AND e.seq <= $1 ORDER BY e.seq LIMIT $2) AS b)
		FROM log_floor f`
	const raise = `UPDATE log_floor SET seq = $1`
	const remove = `DELETE FROM events WHERE seq > $1 AND seq <= $2`
	err = d.inTx(ctx, d.pool, func(ctx context.Context, tx Tx) error {
		var mine bool
		if err := tx.conn.QueryRow(ctx, lock, lockRetention).Scan(&mine); err != nil || !mine {
			return err
		}
		var last *int64
		err := tx.conn.QueryRow(ctx, batch, upTo, retentionBatch).Scan(&floor, &last)
		if err != nil || last == nil {
			return err
		}
		if _, err := tx.conn.Exec(ctx, raise, *last); err != nil {
			return err
		}
		gone, err := tx.conn.Exec(ctx, remove, floor, *last)
		removed = gone.RowsAffected()
		floor = *last
		return err
	})
	return removed, floor, err
}
