package db

import (
	"context"
	"errors"
	"time"

	"fabric-guild/events"

	"github.com/google/uuid"
)

// A Reply is a wake that a post in this transaction ends or keeps. Its row is locked.
type Reply struct {
	row  *wakeRow
	keep bool
	Left bool     // the wake has ended, and its row has more, which is due now
	Kept Extended // the state of a wake that is kept
}

// BeginReply checks the fence of a reply and ends its wake, or with keep extends it. It must come after the
// channel's lock and before the post, so that nothing waits once the post has drawn its number. EndReply must
// come after the post. If the post is not stored, the caller must roll back. ErrWakeLost, ErrLeaseLimit.
func (tx Tx) BeginReply(
	ctx context.Context, ref WakeRef, channel uuid.UUID, keep bool, lease time.Duration,
) (*Reply, error) {
	row, err := tx.fence(ctx, ref, &channel)
	if err != nil {
		return nil, err
	}
	r := &Reply{row: row, keep: keep}
	if keep {
		r.Kept, err = tx.extend(ctx, row, lease, nil)
	} else {
		r.Left, err = tx.finish(ctx, row)
	}
	return r, err
}

// EndReply stores in a final reply which messages it answered.
func (tx Tx) EndReply(ctx context.Context, r *Reply, message uuid.UUID) error {
	if r.keep {
		return nil
	}
	const update = `UPDATE messages SET wake_id = $2, wake_first = $3, wake_upto = $4 WHERE id = $1`
	_, err := tx.conn.Exec(ctx, update, message, r.row.ID, r.row.FirstSeq, r.row.ClaimedUpto)
	return err
}

// ReplayedReply ends a wake with a message that was stored earlier. It is for a request that repeats its
// Idempotency-Key with a new wake. The message ends the wake if it has ended no wake yet, and if it comes
// after the messages that the wake handed out. Otherwise the wake stays.
func (tx Tx) ReplayedReply(
	ctx context.Context, ref WakeRef, channel, message uuid.UUID,
) (left bool, err error) {
	const free = `SELECT wake_id IS NULL AND seq > $2 FROM messages WHERE id = $1 FOR UPDATE`
	row, err := tx.fence(ctx, ref, &channel)
	if errors.Is(err, ErrWakeLost) {
		return false, nil // the earlier request may have ended the wake
	}
	if err != nil {
		return false, err
	}
	var answers bool
	if err := tx.conn.QueryRow(ctx, free, message, row.ClaimedUpto).Scan(&answers); err != nil || !answers {
		return false, sentinel(err)
	}
	if left, err = tx.finish(ctx, row); err != nil {
		return false, err
	}
	return left, tx.EndReply(ctx, &Reply{row: row}, message)
}

// StoredReply returns the message with which an author ended a wake, as its post was answered. ErrNotFound.
func (q Queries) StoredReply(
	ctx context.Context, author string, channel, wake uuid.UUID,
) (p Post, err error) {
	const find = `SELECT id FROM messages WHERE wake_id = $2 AND author_user_id = $1 AND channel_id = $3`
	const at = `
		SELECT log_epoch(),
			(SELECT count(*) FROM members r WHERE r.channel_id = $1 AND r.joined_seq <= $2 AND (r.left_seq IS NULL OR r.left_seq > $2)),
			ARRAY(SELECT r.user_id FROM members r
				WHERE r.channel_id = $1 AND r.joined_seq <= $2 AND (r.left_seq IS NULL OR r.left_seq > $2)
				ORDER BY r.joined_seq, r.position LIMIT $4),
			ARRAY(SELECT u.id FROM wake_lists w, unnest(w.user_ids) WITH ORDINALITY AS u (id, position)
				WHERE w.channel_id = $1 AND w.version = $3 AND EXISTS (SELECT FROM members r WHERE r.channel_id = $1
					AND r.user_id = u.id AND r.joined_seq <= $2 AND (r.left_seq IS NULL OR r.left_seq > $2))
				ORDER BY u.position)`
	var id uuid.UUID
	if err := q.conn.QueryRow(ctx, find, author, wake, channel).Scan(&id); err != nil {
		return p, sentinel(err)
	}
	m, err := q.Message(ctx, id, author)
	if err != nil {
		return p, err
	}
	p.Message = m.Message
	var roster []string
	err = q.conn.QueryRow(ctx, at, m.ChannelID, m.Seq, m.WakeVersion, WakeupsListed+1).
		Scan(&p.Cursor.Epoch, &p.MemberCount, &roster, &p.WakeList)
	if p.XType == events.DM || p.XType == events.General && len(p.MentionUserIDs) == 0 {
		p.Roster = roster
	}
	p.Cursor.Seq = m.Seq
	return p, sentinel(err)
}
