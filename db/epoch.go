package db

import (
	"context"
	"fmt"
	"time"

	"fabric-guild/events"
)

// beginEpoch writes down the life that the database is in, unless another node has done so. log_begin
// decides.
func (d *DB) beginEpoch(ctx context.Context) error {
	const begin = `SELECT log_begin($1, $2)`
	return d.inTx(ctx, d.tailer, func(ctx context.Context, q Queries) error {
		if err := q.lockEpoch(ctx); err != nil {
			return err
		}
		// In microseconds: two copies that are started together must not get the same.
		if _, err := q.conn.Exec(ctx, begin, time.Now().UnixMicro(), d.epoch.Load()); err != nil {
			return fmt.Errorf("begin an epoch: %w", err)
		}
		return nil
	})
}

// lockEpoch waits until nobody else begins or ends an epoch, and keeps others from it until the transaction
// ends.
func (q Queries) lockEpoch(ctx context.Context) error {
	const lock = `SELECT pg_advisory_xact_lock($1, 0)`
	_, err := q.conn.Exec(ctx, lock, lockEpoch)
	return err
}

// contradict ends an epoch that the data contradicts, unless another node has done so, and begins the next.
// Nobody knows which older cursors the data agrees with, so the next epoch honours none.
//
// Between the two transactions there is no epoch, and nothing is appended.
func (d *DB) contradict(ctx context.Context, epoch int64, why string) error {
	const end = `SELECT log_end($1, $2)`
	err := d.inTx(ctx, d.tailer, func(ctx context.Context, q Queries) error {
		if err := q.lockEpoch(ctx); err != nil {
			return err
		}
		_, err := q.conn.Exec(ctx, end, epoch, why)
		return err
	})
	if err != nil {
		return fmt.Errorf("end an epoch: %w", err)
	}
	return d.beginEpoch(ctx)
}

// current is the horizon in an epoch that the data does not contradict: it begins one where there is none.
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

// renew begins an epoch where h has none, and another where there is a contradiction. again says that it did.
func (d *DB) renew(ctx context.Context, h *horizon, contradiction string) (again bool, err error) {
	switch {
	case h.Epoch == nil:
		return true, d.beginEpoch(ctx)
	case contradiction != "":
		return true, d.contradict(ctx, *h.Epoch, contradiction)
	}
	return false, nil
}

// maxEpochs is how many epochs may begin in one read of the log. One begins where there was none, and heals
// what it can; more only where the database changes meanwhile.
const maxEpochs = 4

var errNoRest = fmt.Errorf("%w: the database keeps changing: is it being restored?", ErrUnavailable)

// CheckCursor decides whether a stream may continue from c, given the position up to which this server has read
// the event log. reset is one of events.ResetReasons, or empty if the stream may continue. A cursor at or below
// position needs no query. Every cursor that the server gave out is the number of an event, or of the beginning
// of an epoch. If the event is gone, it was lost, or retention removed it, which the first page shows.
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
	var base *int64 // of the epochs that came after, the smallest
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
	return "", nil // it may be beyond the horizon: that is to wait for
}
