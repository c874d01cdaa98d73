package db

import (
	"context"
	"errors"

	"fabric-guild/events"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// ErrRefused says that a post found no channel with its author in it, or one that is archived, or nothing to
// reply to, or one in which turns are taken. Nothing was stored; reading the channel tells which.
var ErrRefused = errors.New("the post was refused")

// WakeupsListed is how many of those whom a post wakes its answer names; it counts them all.
const WakeupsListed = 50

// A NewMessage is a message to be stored, with what only its author's request knows.
type NewMessage struct {
	events.Message // ID, ChannelID, AuthorUserID, Content, ReplyTo, Admin, TwoState; in turn channels TurnUserID

	Mentioned []string // what its text mentions: who of them is a member is decided at its place in the log
	Guilds    []string // those that the author's token is for; nil: all
}

// A Post is a message with its place in the log and the members that its answer may have to name.
type Post struct {
	events.Message // its wake list is without who was no member
	Cursor         events.Cursor
	MemberCount    int
	Roster         []string // where it wakes everyone, the first members in join order, one more than an answer lists
}

// PostMessage stores a message and its event: one row each, however many members the channel has. It is the
// hot path: one round trip, which holds the shared side of the channel's lock, so that posts do not wait
// for one another and the roster that is read is the roster at the event's place in the log. ErrRefused.
func (d *DB) PostMessage(ctx context.Context, m NewMessage) (Post, error) {
	var p Post
	err := d.inEpoch(ctx, func() (err error) {
		p, err = d.postMessage(ctx, m)
		return err
	})
	return p, err
}

func (d *DB) postMessage(ctx context.Context, m NewMessage) (Post, error) {
	var p Post
	var b pgx.Batch
	b.Queue(begin)
	b.Queue(settings)
	b.Queue(shareChannel, lockChannel, m.ChannelID)
	queuePost(&b, m, false, &p)
	b.Queue(`COMMIT`)

	c, err := acquire(ctx, d.pool)
	if err != nil {
		return Post{}, err
	}
	ctx, cancel := finish(ctx)
	defer cancel()
	defer d.ring()
	defer c.Release()
	err = c.SendBatch(ctx, &b).Close()
	if errors.Is(err, pgx.ErrNoRows) {
		return Post{}, ErrRefused // and the commit was one of nothing
	}
	return p, err
}

// PostMessage is DB.PostMessage in a transaction that holds the channel: exclusively where turns are taken,
// with the turn that m hands over.
func (q Queries) PostMessage(ctx context.Context, m NewMessage) (p Post, err error) {
	const turn = `UPDATE channels SET turn_user_id = $2 WHERE id = $1`
	var b pgx.Batch
	if m.TurnUserID != "" {
		b.Queue(turn, m.ChannelID, m.TurnUserID) // a post that is refused takes it back
	}
	queuePost(&b, m, true, &p)
	err = q.conn.SendBatch(ctx, &b).Close()
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrRefused
	}
	return p, err
}

// queuePost asks for single members by scalar sub-selects: as joins, a planner without statistics reads the
// whole roster instead.
func queuePost(b *pgx.Batch, m NewMessage, turns bool, p *Post) {
	const post = `
		WITH c AS (
			SELECT c.guild_id, c.x_type, c.member_count, c.wake_version FROM channels c
			WHERE c.id = $2 AND c.archived_seq IS NULL AND ($8::text[] IS NULL OR c.guild_id = ANY ($8))
				AND EXISTS (SELECT FROM members a WHERE a.channel_id = $2 AND a.user_id = $3 AND a.left_seq IS NULL)
				AND ($6::uuid IS NULL OR EXISTS (SELECT FROM messages r WHERE r.id = $6 AND r.channel_id = $2
					AND (c.history = 'all' OR EXISTS (SELECT FROM members i WHERE i.channel_id = $2 AND i.user_id = $3
						AND i.joined_seq <= r.seq AND (i.left_seq IS NULL OR r.seq < i.left_seq)))))
				AND ($9 OR c.x_type NOT IN ('discuss', 'work'))
		), at_list AS (
			SELECT coalesce(array_agg(u.id ORDER BY u.position), '{}') AS ids
			FROM unnest($5::text[]) WITH ORDINALITY AS u (id, position)
			WHERE u.id <> $3 AND (
				SELECT true FROM members a WHERE a.channel_id = $2 AND a.user_id = u.id AND a.left_seq IS NULL)
		), e AS (
			INSERT INTO events (kind, channel_id, user_id, message_id, admin_user_id)
			SELECT 'message.created', $2, $3, $1, CASE c.x_type WHEN 'triage' THEN $11 END FROM c
			RETURNING seq, occurred_at, admin_user_id
		), m AS (
			INSERT INTO messages (id, channel_id, seq, author_user_id, content, mention_user_ids, reply_to, created_at,
				wake_version, turn_user_id, admin_user_id, two_state)
			SELECT $1, $2, e.seq, $3, $4, at_list.ids, $6, e.occurred_at,
				c.wake_version, $10, e.admin_user_id, $12 FROM e, at_list, c
		)
		SELECT log_epoch(), e.seq, e.occurred_at, c.guild_id, c.x_type, c.member_count, at_list.ids, e.admin_user_id,
			CASE WHEN c.x_type = 'dm' OR c.x_type = 'general' AND at_list.ids = '{}' THEN
				ARRAY(SELECT r.user_id FROM members r WHERE r.channel_id = $2 AND r.left_seq IS NULL
					ORDER BY r.joined_seq, r.position LIMIT $7) END,
			CASE WHEN c.wake_version > 0 THEN
				ARRAY(SELECT u.id FROM wake_lists w, unnest(w.user_ids) WITH ORDINALITY AS u (id, position)
					WHERE w.channel_id = $2 AND w.version = c.wake_version AND (
						SELECT true FROM members r WHERE r.channel_id = $2 AND r.user_id = u.id AND r.left_seq IS NULL)
					ORDER BY u.position) END
		FROM e, c, at_list`
	p.Message = m.Message
	b.Queue(post, m.ID, m.ChannelID, m.AuthorUserID, m.Content, m.Mentioned, m.ReplyTo, WakeupsListed+1, m.Guilds,
		turns, optional(m.TurnUserID), optional(m.Admin), m.TwoState).QueryRow(func(row pgx.Row) error {
		var admin *string
		err := row.Scan(&p.Cursor.Epoch, &p.Cursor.Seq, &p.CreatedAt, &p.GuildID, &p.XType, &p.MemberCount,
			&p.MentionUserIDs, &admin, &p.Roster, &p.WakeList)
		p.Seq, p.Admin = p.Cursor.Seq, value(admin)
		return err
	})
}

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
	In             *events.Interval // by which the user who asked may see it; nil: none
}

const selectMessage = `
	SELECT m.id, m.channel_id, c.guild_id, c.x_type, m.author_user_id, m.content, m.mention_user_ids, m.reply_to,
		m.created_at, m.edited_at, m.deleted_at, coalesce(m.turn_user_id, ''), m.seq, coalesce(m.edited_seq, 0),
		m.wake_version, coalesce(m.admin_user_id, ''), m.two_state, i.joined_seq, coalesce(i.left_seq, 0)
	FROM messages m
	JOIN channels c ON c.id = m.channel_id
	LEFT JOIN members i ON i.channel_id = m.channel_id AND i.user_id = $1
		AND i.joined_seq <= m.seq AND (i.left_seq IS NULL OR m.seq < i.left_seq)`

func scanMessage(row pgx.CollectableRow) (m StoredMessage, err error) {
	var deleted *events.Time
	var joined *int64
	var left int64
	err = row.Scan(&m.ID, &m.ChannelID, &m.GuildID, &m.XType, &m.AuthorUserID, &m.Content, &m.MentionUserIDs, &m.ReplyTo,
		&m.CreatedAt, &m.EditedAt, &deleted, &m.TurnUserID, &m.Seq, &m.EditedSeq,
		&m.WakeVersion, &m.Admin, &m.TwoState, &joined, &left)
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

// LockMessage waits until nobody else changes a message, and holds that until the transaction ends: so its
// changes stand in the log in the order in which they were made.
func (q Queries) LockMessage(ctx context.Context, id uuid.UUID) error {
	const lock = `SELECT FROM messages WHERE id = $1 FOR UPDATE`
	_, err := q.conn.Exec(ctx, lock, id)
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

// ListMessages returns messages of a channel in the log's order, the newest first.
func (q Queries) ListMessages(ctx context.Context, h History) ([]StoredMessage, error) {
	const where = ` WHERE m.channel_id = $2 AND m.seq > $3 AND ($4::bigint = 0 OR m.seq < $4) AND ($5 OR i.joined_seq IS NOT NULL)
		ORDER BY m.seq DESC LIMIT $6`
	rows, err := q.conn.Query(ctx, selectMessage+where, h.User, h.Channel, h.After, h.Before, h.All, h.Limit)
	if err != nil {
		return nil, sentinel(err)
	}
	found, err := pgx.CollectRows(rows, scanMessage)
	return found, sentinel(err)
}

// EditMessage replaces the text of a message that is locked, or with deleted takes it away, also out of
// the answers that are kept for its author, and tells of it: to admin too, who may be no member. m is set to
// how it then is.
func (q Queries) EditMessage(ctx context.Context, m *events.Message, by, content string, deleted bool, admin string) (at events.Cursor, err error) {
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
	if _, err := q.conn.Exec(ctx, forget, m.ID, content, deleted); err != nil {
		return at, err
	}
	var when events.Time
	err = q.conn.QueryRow(ctx, query, m.ID, m.ChannelID, by, content, deleted, optional(admin)).Scan(&at.Epoch, &at.Seq, &when)
	m.Content, m.Deleted, m.EditedSeq = content, deleted, at.Seq
	if !deleted {
		m.EditedAt = &when
	}
	return at, err
}
