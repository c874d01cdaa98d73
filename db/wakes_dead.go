package db

import (
	"context"
	"errors"

	"fabric-guild/events"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// BuryWake moves the last hand-out of a row to the dead wakes, if the row is never handed out again, and
// keeps the rest. If the wake died, BuryWake appends an event, as its last statement. It takes the channel's
// lock before the row's, as a reply does. left says that the row has more, which is due now.
func (d *DB) BuryWake(ctx context.Context, w WakePart) (left bool, err error) {
	const query = selectWake + `
		WHERE w.user_id = $1 AND w.channel_id = $2 AND w.part = $3
			AND ` + toBury + `
		FOR UPDATE OF w`
	err = d.InTx(ctx, func(ctx context.Context, tx Tx) error {
		left = false
		if err := tx.ShareChannel(ctx, w.Channel); err != nil {
			return err
		}
		rows, err := tx.conn.Query(ctx, query, w.User, w.Channel, w.Part)
		if err != nil {
			return err
		}
		row, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[wakeRow])
		if errors.Is(err, pgx.ErrNoRows) {
			return nil // another transaction was faster, or the row is alive again
		}
		if err != nil {
			return err
		}
		first, err := tx.firstOwed(ctx, row, row.FirstSeq, *row.ClaimedUpto)
		if err != nil {
			return err
		}
		outcome := "dead"
		if row.StoppedBy != nil {
			outcome = "stopped"
		}
		if first != nil {
			if err := tx.dead(ctx, row, first.Seq, *row.ClaimedUpto, outcome, "",
				value(row.Error)); err != nil {
				return err
			}
		}
		if left, err = tx.finish(ctx, row); err != nil || first == nil || outcome != "dead" {
			return err
		}
		return tx.appendWakeDead(ctx, row, first.ID)
	})
	if left && err == nil {
		d.RingWakes(w.User)
	}
	return left, err
}

// firstOwed returns the first message in [from, upTo] of a row's channel that is still owed; nil if there is
// none.
func (tx Tx) firstOwed(ctx context.Context, row *wakeRow, from, upTo int64) (first *wakeFact, err error) {
	err = tx.owed(ctx, row.UserID, row.ChannelID, from, upTo, func(f *wakeFact, _ int16) bool {
		first = f
		return false
	})
	return first, err
}

// appendWakeDead appends the event that no worker handles a message any more. Every member of the channel
// hears it. The error text stays private to the user whose wake it was.
func (tx Tx) appendWakeDead(ctx context.Context, row *wakeRow, message uuid.UUID) error {
	const insert = `INSERT INTO events (kind, channel_id, user_id, message_id) VALUES ($1, $2, $3, $4)`
	tx.appended.unread = true
	_, err := tx.conn.Exec(ctx, insert, events.WakeDead, row.ChannelID, row.UserID, message)
	return err
}

// RetryWake makes a dead wake due again, as a row of its own. It never merges the wake into another row,
// because a range cannot have holes. It finds what ListWakes lists: a wake in a channel that the user has
// left, or that is archived, stays as it is. If nothing of a wake is owed any more, the wake goes.
// ErrNotFound.
func (d *DB) RetryWake(ctx context.Context, ref WakeRef, at events.Cursor) error {
	const take = `
		DELETE FROM wakes_dead d USING channels c
		WHERE d.id = $2 AND d.user_id = $1 AND NOT d.hidden AND c.id = d.channel_id AND c.archived_seq IS NULL
			AND ($3::text[] IS NULL OR c.guild_id = ANY ($3))
			AND EXISTS (SELECT FROM members i WHERE i.channel_id = d.channel_id AND i.user_id = $1
				AND i.left_seq IS NULL)
		RETURNING d.channel_id, d.first_seq, d.last_seq`
	// It has been due since now, not since its messages were posted: it must not pass everything that is due.
	const insert = `
		INSERT INTO wakes (user_id, channel_id, part, first_seq, last_seq, first_at, priority, rest_priority,
			not_before)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $7, clock_timestamp())`
	err := d.inQueue(ctx, func(ctx context.Context, tx Tx) error {
		if _, err := tx.lockConsumer(ctx, ref.User, at, waitLocked); err != nil &&
			!errors.Is(err, errEpochMoved) {
			return err
		}
		var channel uuid.UUID
		var first, last int64
		err := tx.conn.QueryRow(ctx, take, ref.User, ref.ID, ref.Guilds).Scan(&channel, &first, &last)
		if err != nil {
			return sentinel(err)
		}
		var oldest *wakeFact
		var strongest int16
		err = tx.owed(ctx, ref.User, channel, first, last, func(f *wakeFact, priority int16) bool {
			if oldest == nil {
				oldest = f
			}
			strongest = max(strongest, priority)
			return true
		})
		if err != nil || oldest == nil {
			return err // nothing in its range is owed any more
		}
		_, err = tx.conn.Exec(ctx, insert,
			ref.User, channel, ref.ID, oldest.Seq, last, oldest.CreatedAt.Time, strongest)
		tx.working(&wakeRow{UserID: ref.User, ChannelID: channel}, oldest.Seq, last)
		return err
	})
	if err == nil {
		d.RingWakes(ref.User)
	}
	return err
}

// HideWake removes a dead wake from the list. The row stays, because deliveries need its range. ErrNotFound.
func (d *DB) HideWake(ctx context.Context, ref WakeRef) error {
	const query = `
		UPDATE wakes_dead d SET hidden = true, error = NULL FROM channels c
		WHERE d.id = $2 AND d.user_id = $1 AND NOT d.hidden AND c.id = d.channel_id
			AND ($3::text[] IS NULL OR c.guild_id = ANY ($3))`
	return d.inQueue(ctx, func(ctx context.Context, tx Tx) error {
		tag, err := tx.conn.Exec(ctx, query, ref.User, ref.ID, ref.Guilds)
		if err == nil && tag.RowsAffected() == 0 {
			return ErrNotFound
		}
		return err
	})
}

// CloseQueue removes a user's queue. Its messages become unmanaged. It rings, so that claims that wait end.
func (d *DB) CloseQueue(ctx context.Context, user string) error {
	err := d.inQueue(ctx, func(ctx context.Context, tx Tx) error {
		const wakes = `
			DELETE FROM wakes WHERE user_id = $1
			RETURNING user_id, channel_id, first_seq, coalesce(claimed_upto, last_seq)`
		// The consumer must come first: scans and claims wait for its lock.
		if _, err := tx.conn.Exec(ctx, `DELETE FROM wake_consumers WHERE user_id = $1`, user); err != nil {
			return err
		}
		rows, err := tx.conn.Query(ctx, wakes, user)
		if err != nil {
			return err
		}
		if *tx.work, err = pgx.CollectRows(rows, pgx.RowToStructByPos[WorkChange]); err != nil {
			return err
		}
		for _, query := range []string{
			`DELETE FROM wakes_dead WHERE user_id = $1`,
			`DELETE FROM wake_workers WHERE user_id = $1`,
		} {
			if _, err := tx.conn.Exec(ctx, query, user); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		d.RingWakes(user)
	}
	return err
}
