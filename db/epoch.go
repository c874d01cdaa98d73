package db

import (
	"context"
	"fmt"
	"time"

	"fabric-guild/events"
)

// beginEpoch begins the epoch of the life that the database is in, unless another server has begun it.
// log_begin decides.
func (d *DB) beginEpoch(ctx context.Context) error {
	const begin = `SELECT log_begin($1, $2)`
	return d.inTx(ctx, d.tailer, func(ctx context.Context, tx Tx) error {
		if err := tx.lockEpoch(ctx); err != nil {
			return err
		}
		// In microseconds: two copies that start together must not get the same epoch.
		if _, err := tx.conn.Exec(ctx, begin, time.Now().UnixMicro(), d.epoch.Load()); err != nil {
			return fmt.Errorf("begin an epoch: %w", err)
		}
		return nil
	})
}

// lockEpoch waits until no other transaction begins or ends an epoch, and holds the lock until the
// transaction ends.
func (tx Tx) lockEpoch(ctx context.Context) error {
	const lock = `SELECT pg_advisory_xact_lock($1, 0)`
	_, err := tx.conn.Exec(ctx, lock, lockEpoch)
	return err
}

// contradict ends an epoch that the data contradicts, unless another server has ended it, and begins the
// next. Nobody knows which older cursors agree with the data. So the next epoch honours no older cursor.
//
// Between the two transactions there is no epoch, and nothing is appended.
func (d *DB) contradict(ctx context.Context, epoch int64, why string) error {
	const end = `SELECT log_end($1, $2)`
	err := d.inTx(ctx, d.tailer, func(ctx context.Context, tx Tx) error {
		if err := tx.lockEpoch(ctx); err != nil {
			return err
		}
		_, err := tx.conn.Exec(ctx, end, epoch, why)
		return err
	})
	if err != nil {
		return fmt.Errorf("end an epoch: %w", err)
	}
	return d.beginEpoch(ctx)
}

// current returns the horizon in an epoch that the data does not contradict. It begins an epoch if there is
// none.
func (d *DB) current(ctx context.Context, conn conn) (h horizon, err error) {
	for range maxEpochs {
		if err := conn.QueryRow(ctx, selectHorizon).Scan(h.scan()...); err != nil {
			return h, err
		}
		if again, err := d.renew(ctx, &h, value(h.Contradiction)); err != nil || !again {
			return h, err
		}
	}
	return h, errNoRest
}

// renew begins an epoch if h has none, and the next epoch if there is a contradiction. again says that it did
// so.
func (d *DB) renew(ctx context.Context, h *horizon, contradiction string) (again bool, err error) {
	switch {
	case h.Epoch == nil:
		return true, d.beginEpoch(ctx)
	case contradiction != "":
		return true, d.contradict(ctx, *h.Epoch, contradiction)
	}
	return false, nil
}

// Epoch returns the current epoch, and the number at which it began.
func (q Queries) Epoch(ctx context.Context) (epoch, head int64, err error) {
	const query = `SELECT epoch, coalesce(head, base) FROM epochs WHERE epoch = log_epoch()`
	err = q.conn.QueryRow(ctx, query).Scan(&epoch, &head)
	return epoch, head, sentinel(err)
}

// maxEpochs is how many epochs may begin during one read of the event log. One begins if there was none, and
// repairs what it can. More begin only if the database keeps changing.
const maxEpochs = 4

var errNoRest = fmt.Errorf("%w: the database keeps changing: is it being restored?", ErrUnavailable)

// CheckCursor decides whether a stream may continue from c. position is how far this server has read the
// event log. reset is one of events.ResetReasons, or empty if the stream may continue. A cursor in this
// server's past needs no query. Every cursor that was given out is the number of an event, or the head or
// base of an epoch. If the event does not exist, it was lost, or retention removed it. The first page of the
// catch-up detects the second case.
func (d *DB) CheckCursor(ctx context.Context, c, position events.Cursor) (reset string, err error) {
	if c.Epoch == position.Epoch && c.Seq <= position.Seq {
		return "", nil
	}
	const query = `
		SELECT EXISTS (SELECT FROM epochs WHERE epoch = $1),
			(SELECT min(base) FROM epochs WHERE epoch > $1),
			coalesce(pg_sequence_last_value('events_seq'::regclass), 0),
			EXISTS (SELECT FROM events WHERE seq = $2)
				OR EXISTS (SELECT FROM log_floor WHERE seq >= $2)
				OR EXISTS (SELECT FROM epochs WHERE $2 IN (base, head))`
	done, err := d.Reading(ctx)
	if err != nil {
		return "", err
	}
	defer done()
	var known, there bool
	var base *int64 // the smallest base of the later epochs
	var last int64
	if err := d.conn.QueryRow(ctx, query, c.Epoch, c.Seq).Scan(&known, &base, &last, &there); err != nil {
		return "", sentinel(err)
	}
	switch {
	case !known:
		return events.ResetUnknownEpoch, nil
	case base != nil && c.Seq > *base:
		return events.ResetLostTail, nil
	case c.Seq > last:
		return events.ResetBeyond, nil
	case !there:
		return events.ResetLostTail, nil
	}
	return "", nil // if it is beyond the horizon, the stream waits
}
