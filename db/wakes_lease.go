package db

import (
	"cmp"
	"context"
	"time"

	"fabric-guild/events"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// A handOut is what a claim hands out of a row.
type handOut struct {
	facts        []*wakeFact // of the messages, oldest first
	rest         *wakeFact   // the first that is not handed out; nil: there is none
	width        int
	strongest    int16 // of facts
	restPriority int16
	expired      int64 // the number of the last message that is too old; 0: there is none
}

// pick chooses what a claim hands out of a row.
func (tx Tx) pick(ctx context.Context, c WakeClaim, queue *consumer, row *wakeRow) (h handOut, err error) {
	var bytes int
	oldest := time.Time{}
	if c.MaxAge > 0 {
		now, err := tx.now(ctx)
		if err != nil {
			return h, err
		}
		oldest = now.Add(-c.MaxAge)
	}
	err = queue.owed(ctx, tx, row, func(f *wakeFact, priority int16) bool {
		if len(h.facts) == 0 {
			if f.CreatedAt.Before(oldest) && priority < priorityOnDuty {
				h.expired = f.Seq
				return true
			}
			h.width = row.widthFor(f.Seq)
		}
		full := len(h.facts) == min(c.Limit, h.width) || len(h.facts) > 0 && bytes+f.Bytes > wakeBytes
		if h.rest != nil || full {
			h.rest = cmp.Or(h.rest, f)
			h.restPriority = max(h.restPriority, priority)
			return true
		}
		h.facts = append(h.facts, f)
		bytes += f.Bytes
		h.strongest = max(h.strongest, priority)
		return true
	})
	return h, err
}

// first and last are the messages at the ends; the claim hands out at least one.
func (h *handOut) first() *wakeFact { return h.facts[0] }
func (h *handOut) last() *wakeFact  { return h.facts[len(h.facts)-1] }

// restAt is the time of the first message that is not handed out; nil: there is none.
func (h *handOut) restAt() *time.Time {
	if h.rest == nil {
		return nil
	}
	return &h.rest.CreatedAt.Time
}

// wake returns the wake that hands h out of a row. It has a new id.
func (h *handOut) wake(c WakeClaim, row *wakeRow) *Wake {
	w := &Wake{
		ID: uuid.Must(uuid.NewV7()), Reason: reasonOf(h.strongest), Attempt: row.Attempts + 1, Lease: c.Lease,
		More: h.rest != nil, Expired: row.ID != nil,
	}
	for _, f := range h.facts {
		w.Messages = append(w.Messages, f.Seq)
	}
	return w
}

// lease hands a row out. It returns nil if nothing in the row is owed any more; then it has deleted the row.
// The statements that write the lease and read what the worker sees are queued in end, which fills in the
// rest of the wake.
func (tx Tx) lease(
	ctx context.Context, c WakeClaim, queue *consumer, row *wakeRow, end *pgx.Batch,
) (*Wake, error) {
	h, err := tx.pick(ctx, c, queue, row)
	if err != nil {
		return nil, err
	}
	if h.expired > 0 {
		if err := tx.dead(ctx, row, row.FirstSeq, h.expired, "expired", "", ""); err != nil {
			return nil, err
		}
		tx.working(row, row.FirstSeq, h.expired)
	}
	if len(h.facts) == 0 {
		return nil, tx.deleteWake(ctx, row)
	}
	if h.first().Seq > row.FirstSeq { // the oldest message has changed
		row.FirstSeq = h.first().Seq
		row.Attempts = 0
		row.Width = fullWidth
	}
	w := h.wake(c, row)
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
		row.FirstSeq, h.first().CreatedAt.Time, row.Attempts, h.width, h.last().Seq,
		h.strongest, h.restPriority, optional(c.Worker), optional(c.Instance), h.restAt()).
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
	w.queueShown(end, row.UserID, row.ChannelID, queue.scannedSeq, c.Around)
	// What an earlier attempt was given, and this one is not, is pending again.
	tx.working(row, row.FirstSeq, max(h.last().Seq, value(row.ClaimedUpto)))
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
