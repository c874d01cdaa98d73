package db

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"fabric-guild/events"

	"github.com/google/uuid"
)

// A Reply names the wake for which a message is posted. The message and the end of the wake are one change.
type Reply struct {
	Wake  uuid.UUID
	Keep  bool // the wake stays, and its lease lasts for Lease from now, or longer if it did before
	Lease time.Duration
}

// A Replied is a wake that a message has ended or kept.
type Replied struct {
	First int64 `json:"first"` // with Upto: the range of messages that the wake handed out
	Upto  int64 `json:"upto"`
	More  bool  `json:"more"` // the channel has more. If the wake has ended, that is due now

	// Only of a wake that is kept.
	LeaseUntil events.Time   `json:"until"`
	Lease      time.Duration `json:"-"` // until LeaseUntil, when the message was stored
	Seconds    float64       `json:"seconds"`
	ClaimedAt  events.Time   `json:"claimedAt"`
	Stop       bool          `json:"stop"` // somebody asked to stop
}

// replied reads the column wake of post_messages.
func (r *Reply) replied(column []byte) (*Replied, error) {
	var a Replied
	if err := json.Unmarshal(column, &a); err != nil {
		return nil, fmt.Errorf("read what a reply answered: %w", err)
	}
	a.Lease = time.Duration(a.Seconds * float64(time.Second))
	return &a, nil
}

// replyColumns are the arguments of post_messages for the replies in a group. They are nil, which is NULL,
// for a group without replies.
type replyColumns struct {
	n      int
	ids    []*uuid.UUID
	keeps  []bool
	leases []float64
}

// add adds the reply of the next post; nil: it is no reply.
func (c *replyColumns) add(r *Reply) {
	c.n++
	if r == nil && c.ids == nil {
		return
	}
	for len(c.ids) < c.n {
		c.ids = append(c.ids, nil)
		c.keeps = append(c.keeps, false)
		c.leases = append(c.leases, 0)
	}
	if r != nil {
		c.ids[c.n-1] = &r.Wake
		c.keeps[c.n-1] = r.Keep
		c.leases[c.n-1] = r.Lease.Seconds()
	}
}

// lockForReply takes the locks that come before the channel's lock.
func (tx Tx) lockForReply(ctx context.Context, r *Reply, author string) error {
	if r == nil || !r.Keep {
		return nil
	}
	_, err := tx.conn.Exec(ctx, lockQueue, author)
	return err
}

// checkReply waits for the wake of a message, and locks it. It must come after the channel's lock and before
// the post, so that nothing waits once the post has drawn its number. ErrWakeLost.
func (tx Tx) checkReply(ctx context.Context, m NewMessage) error {
	if m.Reply == nil {
		return nil
	}
	row, err := tx.fence(ctx, WakeRef{User: m.AuthorUserID, Guilds: m.Guilds, ID: m.Reply.Wake}, &m.ChannelID)
	if err == nil && m.Reply.Keep {
		err = tx.checkExtension(ctx, row)
	}
	return err
}

// Kept returns the state of a wake that a post has kept, as ExtendWake would.
func (q Queries) Kept(ctx context.Context, m NewMessage, r *Replied) (Extended, error) {
	a := Extended{ChannelID: m.ChannelID, LeaseUntil: r.LeaseUntil, Lease: r.Lease, Stop: r.Stop}
	err := q.sinceClaim(ctx, m.AuthorUserID, r.First, r.Upto, r.ClaimedAt.Time, &a)
	return a, sentinel(err)
}

// ReplayedReply ends a wake with a message that was stored earlier. It is for a request that repeats its
// Idempotency-Key with a new wake. The message ends the wake if it has ended no wake yet, and if it comes
// after the messages that the wake handed out. Otherwise the wake stays.
func (tx Tx) ReplayedReply(
	ctx context.Context, ref WakeRef, channel, message uuid.UUID,
) (ended, left bool, err error) {
	const free = `SELECT wake_id IS NULL AND seq > $2 FROM messages WHERE id = $1 FOR UPDATE`
	row, err := tx.fence(ctx, ref, &channel)
	if errors.Is(err, ErrWakeLost) {
		return false, false, nil // the earlier request may have ended the wake
	}
	if err != nil {
		return false, false, err
	}
	var answers bool
	if err := tx.conn.QueryRow(ctx, free, message, row.ClaimedUpto).Scan(&answers); err != nil || !answers {
		return false, false, sentinel(err)
	}
	const update = `UPDATE messages SET wake_id = $2, wake_first = $3, wake_upto = $4 WHERE id = $1`
	if _, err := tx.conn.Exec(ctx, update, message, row.ID, row.FirstSeq, row.ClaimedUpto); err != nil {
		return false, false, err
	}
	left, err = tx.finish(ctx, row)
	return true, left, err
}

// WakeElsewhere reports whether a wake is current, but in another channel.
func (q Queries) WakeElsewhere(ctx context.Context, ref WakeRef, channel uuid.UUID) (there bool, err error) {
	const query = `
		SELECT EXISTS (SELECT FROM wakes w JOIN channels c ON c.id = w.channel_id
			WHERE w.user_id = $1 AND w.id = $2 AND w.channel_id <> $3
				AND ($4::text[] IS NULL OR c.guild_id = ANY ($4)))`
	err = q.conn.QueryRow(ctx, query, ref.User, ref.ID, channel, ref.Guilds).Scan(&there)
	return there, sentinel(err)
}

// StoredReply returns the message with which an author ended a wake, as its post was answered. ErrNotFound.
func (q Queries) StoredReply(ctx context.Context, ref WakeRef, channel uuid.UUID) (p Post, err error) {
	const find = `
		SELECT m.id FROM messages m JOIN channels c ON c.id = m.channel_id
		WHERE m.wake_id = $2 AND m.author_user_id = $1 AND m.channel_id = $3
			AND ($4::text[] IS NULL OR c.guild_id = ANY ($4))`
	const at = `
		SELECT log_epoch(),
			(SELECT count(*) FROM members r WHERE r.channel_id = $1 AND r.joined_seq <= $2
				AND (r.left_seq IS NULL OR r.left_seq > $2)),
			ARRAY(SELECT r.user_id FROM members r
				WHERE r.channel_id = $1 AND r.joined_seq <= $2 AND (r.left_seq IS NULL OR r.left_seq > $2)
				ORDER BY r.joined_seq, r.position LIMIT $4),
			ARRAY(SELECT u.id FROM wake_lists w, unnest(w.user_ids) WITH ORDINALITY AS u (id, position)
				WHERE w.channel_id = $1 AND w.version = $3
					AND EXISTS (SELECT FROM members r WHERE r.channel_id = $1
					AND r.user_id = u.id AND r.joined_seq <= $2 AND (r.left_seq IS NULL OR r.left_seq > $2))
				ORDER BY u.position)`
	var id uuid.UUID
	if err := q.conn.QueryRow(ctx, find, ref.User, ref.ID, channel, ref.Guilds).Scan(&id); err != nil {
		return p, sentinel(err)
	}
	m, err := q.Message(ctx, id, ref.User)
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
