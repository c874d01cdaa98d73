package db

import (
	"cmp"
	"context"
	"time"

	"fabric-guild/events"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// lease hands a row out. It returns nil if nothing in the row is owed any more; then it has deleted the row.
// The statements that write the lease and read what the worker sees are queued in end, which fills in the
// rest of the wake.
func (tx Tx) lease(
	ctx context.Context, c WakeClaim, queue *consumer, row *wakeRow, end *pgx.Batch,
) (*Wake, error) {
	var found []*wakeFact
	var rest *wakeFact // the first that is not handed out
	var bytes int
	var strongest, restPriority int16
	expired := int64(0) // the number of the last message that is too old
	oldest := time.Time{}
	if c.MaxAge > 0 {
		now, err := tx.now(ctx)
		if err != nil {
			return nil, err
		}
		oldest = now.Add(-c.MaxAge)
	}
	var width int
	take := func(f *wakeFact, priority int16) bool {
		if len(found) == 0 {
			if f.CreatedAt.Before(oldest) && priority < priorityOnDuty {
				expired = f.Seq
				return true
			}
			width = row.widthFor(f.Seq)
		}
		full := len(found) == min(c.Limit, width) || len(found) > 0 && bytes+f.Bytes > wakeBytes
		if rest != nil || full {
			rest = cmp.Or(rest, f)
			restPriority = max(restPriority, priority)
			return true
		}
		found = append(found, f)
		bytes += f.Bytes
		strongest = max(strongest, priority)
		return true
	}
	if err := queue.owed(ctx, tx, row, take); err != nil {
		return nil, err
	}
	if expired > 0 {
		if err := tx.dead(ctx, row, row.FirstSeq, expired, "expired", "", ""); err != nil {
			return nil, err
		}
		tx.working(row, row.FirstSeq, expired)
	}
	if len(found) == 0 {
		return nil, tx.deleteWake(ctx, row)
	}
	if found[0].Seq > row.FirstSeq { // the oldest message has changed
		row.FirstSeq = found[0].Seq
		row.Attempts = 0
		row.Width = fullWidth
	}
	w := &Wake{
		ID: uuid.Must(uuid.NewV7()), Reason: reasonOf(strongest), Attempt: row.Attempts + 1, Lease: c.Lease,
		More: rest != nil, Expired: row.ID != nil,
	}
	for _, f := range found {
		w.Messages = append(w.Messages, f.Seq)
	}
	var restAt *time.Time
	if rest != nil {
		restAt = &rest.CreatedAt.Time
	}
	const update = `
		UPDATE wakes w SET id = $4, claimed_at = clock_timestamp(),
			lease_until = clock_timestamp() + $5::interval,
			first_seq = $6, first_at = $7, attempts = $8::integer + 1, width = $9, claimed_upto = $10,
			priority = greatest($11::smallint, $12::smallint), rest_priority = $12::smallint,
			first_attempt_at = CASE WHEN $8::integer = 0 THEN clock_timestamp() ELSE first_attempt_at END,
			error = CASE WHEN $8::integer = 0 THEN NULL ELSE error END,
			last_seq = CASE WHEN $15::timestamptz IS NULL THEN $10 ELSE last_seq END, rest_at = $15,
			not_before = NULL, worker = $13, instance = $14, status = NULL
		FROM channels c
		WHERE w.user_id = $2 AND w.channel_id = $1 AND w.part = $3 AND c.id = w.channel_id
		RETURNING w.lease_until, ` + channelColumns
	end.Queue(update, row.ChannelID, row.UserID, row.Part, w.ID, c.Lease,
		row.FirstSeq, found[0].CreatedAt.Time, row.Attempts, width, found[len(found)-1].Seq,
		strongest, restPriority, optional(c.Worker), optional(c.Instance), restAt).
		Query(func(rows pgx.Rows) error {
			type leased struct {
				Channel
				LeaseUntil events.Time
			}
			l, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[leased])
			w.LeaseUntil = l.LeaseUntil
			w.Shown.Channel = l.Channel
			return err
		})
	w.queueShown(end, row, queue.scannedSeq, c.Around)
	// What an earlier attempt was given, and this one is not, is pending again.
	tx.working(row, row.FirstSeq, max(found[len(found)-1].Seq, value(row.ClaimedUpto)))
	return w, nil
}

// widthFor returns how many messages the next attempt hands out, if first is its oldest message. From the
// third attempt on it is one: a message that makes workers fail must not take its neighbours along.
func (r *wakeRow) widthFor(first int64) int {
	switch {
	case first > r.FirstSeq:
		return fullWidth
	case r.Attempts == 0:
		return r.Width
	case r.Attempts >= 2, r.Width < fullWidth:
		return 1
	}
	return r.Width
}

func (tx Tx) deleteWake(ctx context.Context, row *wakeRow) error {
	const query = `DELETE FROM wakes WHERE user_id = $1 AND channel_id = $2 AND part = $3`
	_, err := tx.conn.Exec(ctx, query, row.UserID, row.ChannelID, row.Part)
	return err
}

// dead stores a part of a row's range as a dead wake.
func (tx Tx) dead(
	ctx context.Context, row *wakeRow, first, last int64, outcome, note, errorText string,
) error {
	const insert = `
		INSERT INTO wakes_dead (id, user_id, channel_id, first_seq, last_seq, attempts, outcome, note, error)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`
	_, err := tx.conn.Exec(ctx, insert, uuid.Must(uuid.NewV7()), row.UserID, row.ChannelID, first, last,
		row.Attempts,
		outcome, optional(note), optional(errorText))
	return err
}
