package db

import (
	"context"
	"fmt"
	"time"

	"fabric-guild/events"
)

// beginEpoch writes down the life that the database is in, unless another node has done so. In a life
// without an epoch nothing can be appended, so the greatest number that is committed stands still: that of
// an event, or the floor, if retention has taken them all.
func (d *DB) beginEpoch(ctx context.Context) error {
	// A time, not a count: a failover to an older copy must not give a number out again. Nor must it where the
	// clock was set back: hence not the next number, and none below what this node has seen.
	const lock, insert = `SELECT pg_advisory_xact_lock($1, 0)`, `
		INSERT INTO epochs (epoch, key, base)
		SELECT greatest($1, $2::bigint + 1, (SELECT max(epoch) + 1 + (random() * 100000)::bigint FROM epochs WHERE epoch >= $1)),
			log_key(), greatest((SELECT max(seq) FROM events), (SELECT seq FROM log_floor))
		ON CONFLICT ON CONSTRAINT epochs_key_unique DO NOTHING`
	return d.inTx(ctx, d.tailer, func(ctx context.Context, q Queries) error {
		if _, err := q.conn.Exec(ctx, lock, lockEpoch); err != nil {
			return err
		}
		if _, err := q.conn.Exec(ctx, insert, time.Now().Unix(), d.epoch.Load()); err != nil {
			return fmt.Errorf("begin an epoch: %w", err)
		}
		return nil
	})
}

// Reasons why a cursor cannot be honoured, as stream.reset tells them.
const (
	ResetUnknownEpoch = "unknown_epoch" // not of this log
	ResetLostTail     = "lost_tail"     // of a part that a failover lost
	ResetBeyond       = "beyond_end"    // a number that was never given out
)

// CheckCursor decides whether a stream may go on from c, given the position up to which this node has read
// the log. reset is empty, or why it may not. What lies in this node's past needs no query.
func (d *DB) CheckCursor(ctx context.Context, c, position events.Cursor) (reset string, err error) {
	if c.Epoch == position.Epoch && c.Seq <= position.Seq {
		return "", nil
	}
	const query = `
		SELECT EXISTS (SELECT FROM epochs WHERE epoch = $1),
			(SELECT min(base) FROM epochs WHERE epoch > $1),
			pg_sequence_last_value('events_seq'::regclass)`
	done, err := d.Reading(ctx)
	if err != nil {
		return "", err
	}
	defer done()
	var known bool
	var base *int64 // of the epochs that came after, the smallest
	var last int64
	if err := d.conn.QueryRow(ctx, query, c.Epoch).Scan(&known, &base, &last); err != nil {
		return "", sentinel(err)
	}
	switch {
	case !known:
		return ResetUnknownEpoch, nil
	case base != nil && c.Seq > *base:
		return ResetLostTail, nil
	case c.Seq > last:
		return ResetBeyond, nil
	}
	return "", nil // it may be beyond the horizon: that is to wait for
}
