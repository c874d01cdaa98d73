package db

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"fabric-guild/events"

	"github.com/jackc/pgx/v5"
)

const wakeSweepInterval = time.Minute

// RunWakeSweeper buries dead wakes, and scans for users who are not claiming, once a minute until ctx ends.
// Every server may run it: a lock makes them take turns.
func (d *DB) RunWakeSweeper(
	ctx context.Context, position func() events.Cursor, logger *slog.Logger,
) {
	for ctx.Err() == nil {
		wait(ctx, wakeSweepInterval)
		if err := d.SweepWakes(ctx, position()); err != nil && ctx.Err() == nil {
			logger.Warn("wake queue sweep failed; it is tried again in a minute", "error", err)
		}
	}
}

// SweepWakes runs one sweep of RunWakeSweeper.
func (d *DB) SweepWakes(ctx context.Context, at events.Cursor) error {
	const dead = `SELECT w.user_id, w.channel_id, w.part FROM wakes w WHERE ` + toBury + ` LIMIT 1000`
	const idle = `
		SELECT user_id FROM wake_consumers
		WHERE claimed_at BETWEEN clock_timestamp() - interval '7 days'
			AND clock_timestamp() - interval '1 minute'
			AND scanned_seq < $1
		LIMIT 10000`
	const forget = `DELETE FROM wake_workers WHERE seen_at < clock_timestamp() - interval '7 days'`
	const forgetErrors = `UPDATE wakes_dead SET error = NULL WHERE error IS NOT NULL
		AND at < clock_timestamp() - interval '90 days'`
	release, mine, err := d.tryLock(ctx, lockWakeSweep)
	if err != nil || !mine {
		return err
	}
	defer release()
	for _, query := range []string{forget, forgetErrors} {
		if _, err := d.conn.Exec(ctx, query); err != nil {
			return sentinel(err)
		}
	}
	rows, err := d.conn.Query(ctx, dead)
	if err != nil {
		return sentinel(err)
	}
	parts, err := pgx.CollectRows(rows, pgx.RowToStructByPos[WakePart])
	if err != nil {
		return sentinel(err)
	}
	for _, part := range parts {
		if _, failed := d.BuryWake(ctx, part); failed != nil {
			err = failed // others may hold this channel; the rest does not wait for it
		}
	}
	users, failed := d.column(ctx, idle, at.Seq)
	if failed != nil {
		return failed
	}
	for _, user := range users {
		if _, failed := d.scanWakes(ctx, user, at, skipLocked); failed != nil &&
			!errors.Is(failed, ErrNotFound) {
			err = failed
		}
	}
	return err
}

func (d *DB) column(ctx context.Context, query string, args ...any) ([]string, error) {
	rows, err := d.conn.Query(ctx, query, args...)
	if err != nil {
		return nil, sentinel(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return found, sentinel(err)
}

// tryLock takes a lock that only one server may hold, in a transaction of its own, until the caller calls
// release. It does not wait: mine is false if another server holds the lock.
func (d *DB) tryLock(ctx context.Context, class int32) (release func(), mine bool, err error) {
	c, err := acquire(ctx, d.tailer)
	if err != nil {
		return nil, false, err
	}
	tx, err := c.Begin(ctx)
	if err == nil {
		err = tx.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock($1, 0)`, class).Scan(&mine)
	}
	release = func() {
		if tx != nil {
			_ = tx.Rollback(context.WithoutCancel(ctx))
		}
		c.Release()
	}
	if err != nil || !mine {
		release()
	}
	return release, mine, sentinel(err)
}

// ScanWakes scans a user's queue up to a position, within the bounds of a claim, without claiming. It does
// not create a queue. behind says that it did not reach the position. ErrNotFound.
func (d *DB) ScanWakes(ctx context.Context, user string, at events.Cursor) (behind bool, err error) {
	return d.scanWakes(ctx, user, at, waitLocked)
}

// scanWakes is ScanWakes. With skipLocked, a queue that another transaction holds is not found.
func (d *DB) scanWakes(
	ctx context.Context, user string, at events.Cursor, locked consumerLock,
) (behind bool, err error) {
	end := time.Now().Add(scanTime)
	for page := 1; ; page++ {
		var done bool
		err := d.inQueue(ctx, func(ctx context.Context, tx Tx) error {
			if err := tx.unsynced(ctx); err != nil {
				return err
			}
			c, err := tx.lockConsumer(ctx, user, at, locked)
			if err != nil {
				return err
			}
			var reads, writes pgx.Batch
			c.read(&reads, at)
			if err := tx.conn.SendBatch(ctx, &reads).Close(); err != nil {
				return err
			}
			done = c.write(&writes, at)
			return tx.conn.SendBatch(ctx, &writes).Close()
		})
		if errors.Is(err, errEpochMoved) {
			return true, nil
		}
		if err != nil || done || page == scanPages || time.Now().After(end) {
			return !done, err
		}
	}
}
