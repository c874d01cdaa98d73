package db

import (
	"context"
	"math"

	"fabric-guild/events"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// optional is NULL where there is nothing.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// A StoredMessage is one with what decides who may see and change it.
type StoredMessage struct {
	events.Message // without its wake list, which WakeListAt has
	WakeVersion    int
	OnList         bool             // the user who asked is on the wake list of that version
	In             *events.Interval // by which the user who asked may see it; nil: none
}

const selectMessage = `
	SELECT m.id, m.channel_id, c.guild_id, c.x_type, m.author_user_id, m.content, m.mention_user_ids, m.reply_to,
		m.created_at, m.edited_at, m.deleted_at, coalesce(m.turn_user_id, ''), m.seq, coalesce(m.edited_seq, 0),
		m.wake_version, coalesce(m.admin_user_id, ''), m.two_state,
		m.wake_version > 0 AND EXISTS (SELECT FROM wake_lists w
			WHERE w.channel_id = m.channel_id AND w.version = m.wake_version AND $1 = ANY (w.user_ids)), i.joined_seq, coalesce(i.left_seq, 0)
	FROM messages m
	JOIN channels c ON c.id = m.channel_id
	LEFT JOIN LATERAL (
		SELECT i.joined_seq, i.left_seq FROM members i
		WHERE i.channel_id = m.channel_id AND i.user_id = $1 AND i.joined_seq <= m.seq
		ORDER BY i.joined_seq DESC LIMIT 1) i ON i.left_seq IS NULL OR m.seq < i.left_seq`

func scanMessage(row pgx.CollectableRow) (m StoredMessage, err error) {
	var deleted *events.Time
	var joined *int64
	var left int64
	err = row.Scan(&m.ID, &m.ChannelID, &m.GuildID, &m.XType, &m.AuthorUserID, &m.Content, &m.MentionUserIDs, &m.ReplyTo,
		&m.CreatedAt, &m.EditedAt, &deleted, &m.TurnUserID, &m.Seq, &m.EditedSeq,
		&m.WakeVersion, &m.Admin, &m.TwoState, &m.OnList, &joined, &left)
	m.Deleted = deleted != nil
	if joined != nil {
		m.In = &events.Interval{ChannelID: m.ChannelID, Joined: *joined, Left: left}
	}
	return m, err
}

// Message returns a message as user stands to it, whether or not they may see it; ErrNotFound.
func (q Queries) Message(ctx context.Context, id uuid.UUID, user string) (StoredMessage, error) {
	rows, err := q.conn.Query(ctx, selectMessage+` WHERE m.id = $2`, user, id)
	if err != nil {
		return StoredMessage{}, sentinel(err)
	}
	m, err := pgx.CollectExactlyOneRow(rows, scanMessage)
	return m, sentinel(err)
}

// MessagesAt returns the messages at some places of a channel, oldest first, as user stands to them.
func (q Queries) MessagesAt(ctx context.Context, channel uuid.UUID, user string, seqs []int64) ([]StoredMessage, error) {
	rows, err := q.conn.Query(ctx, selectMessage+` WHERE m.channel_id = $2 AND m.seq = ANY ($3) ORDER BY m.seq`, user, channel, seqs)
	if err != nil {
		return nil, sentinel(err)
	}
	found, err := pgx.CollectRows(rows, scanMessage)
	return found, sentinel(err)
}

// OwnAfter returns the latest messages by a member behind a place in a channel, newest first.
func (q Queries) OwnAfter(ctx context.Context, channel uuid.UUID, user string, after int64, limit int) ([]StoredMessage, error) {
	rows, err := q.conn.Query(ctx, selectMessage+`
		WHERE m.channel_id = $2 AND m.seq > $3 AND m.author_user_id = $1 ORDER BY m.seq DESC LIMIT $4`, user, channel, after, limit)
	if err != nil {
		return nil, sentinel(err)
	}
	found, err := pgx.CollectRows(rows, scanMessage)
	return found, sentinel(err)
}

// LockMessage waits until nobody else changes a message, and holds that until the transaction ends: so its
// changes stand in the log in the order in which they were made.
func (tx Tx) LockMessage(ctx context.Context, id uuid.UUID) error {
	const lock = `SELECT FROM messages WHERE id = $1 FOR UPDATE`
	_, err := tx.conn.Exec(ctx, lock, id)
	return err
}

// History is a part of a channel's messages, newest first. Before and After are numbers in the log, 0: none.
type History struct {
	Channel       uuid.UUID
	User          string
	All           bool // also what was said while the user was no member
	Before, After int64
	Limit         int
}

// ListMessages calls do with messages of a channel, the newest first, until it returns false: so they need not all
// be in memory at once. It holds a connection meanwhile. It reads neither what others said while the user was no
// member nor, one by one, the times when the user was a member and nobody said anything.
func (q Queries) ListMessages(ctx context.Context, h History, do func(StoredMessage) (more bool)) error {
	const where = `
		WHERE m.id = ANY (ARRAY(
			(SELECT a.id FROM messages a
			WHERE $5 AND a.channel_id = $2 AND a.seq > $3 AND a.seq < $4
			ORDER BY a.seq DESC LIMIT $6)
			UNION ALL
			SELECT history_of($2, $1, $3, $4, CASE WHEN $5 THEN 0 ELSE $6 END)))
		ORDER BY m.seq DESC`
	before := h.Before
	if before == 0 {
		before = math.MaxInt64
	}
	rows, err := q.conn.Query(ctx, selectMessage+where, h.User, h.Channel, h.After, before, h.All, h.Limit)
	if err != nil {
		return sentinel(err)
	}
	defer rows.Close()
	for rows.Next() {
		m, err := scanMessage(rows)
		if err != nil {
			return sentinel(err)
		}
		if !do(m) {
			break
		}
	}
	rows.Close()
	return sentinel(rows.Err())
}

// EditMessage replaces the text of a message that is locked, or with deleted takes it away, also out of
// the answers that are kept for its author, and tells of it: to admin too, who may be no member. m is set to
// how it then is.
func (tx Tx) EditMessage(ctx context.Context, m *events.Message, by, content string, deleted bool, admin string) (at events.Cursor, err error) {
	const forget = `
		UPDATE idempotency_keys SET answer = convert_to((
			CASE WHEN $3 THEN jsonb_set(convert_from(answer, 'UTF8')::jsonb #- '{message,content}', '{message,deleted}', 'true')
			ELSE jsonb_set(convert_from(answer, 'UTF8')::jsonb, '{message,content}', to_jsonb($2::text)) END)::text, 'UTF8')
		WHERE message_id = $1`
	const query = `
		WITH e AS (
			INSERT INTO events (kind, channel_id, user_id, message_id, admin_user_id)
			VALUES (CASE WHEN $5 THEN 'message.deleted' ELSE 'message.updated' END, $2, $3, $1, $6)
			RETURNING seq, occurred_at
		), m AS (
			UPDATE messages SET content = $4, edited_seq = e.seq,
				edited_at = CASE WHEN $5 THEN edited_at ELSE e.occurred_at END,
				deleted_at = CASE WHEN $5 THEN e.occurred_at END
			FROM e WHERE id = $1
		)
		SELECT log_epoch(), seq, occurred_at FROM e`
	if _, err := tx.conn.Exec(ctx, forget, m.ID, content, deleted); err != nil {
		return at, err
	}
	var when events.Time
	err = tx.conn.QueryRow(ctx, query, m.ID, m.ChannelID, by, content, deleted, optional(admin)).Scan(&at.Epoch, &at.Seq, &when)
	m.Content, m.Deleted, m.EditedSeq = content, deleted, at.Seq
	if !deleted {
		m.EditedAt = &when
	}
	return at, err
}
