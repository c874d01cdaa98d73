package db

import (
	"cmp"
	"context"
	"math"
	"reflect"
	"strings"

	"fabric-guild/events"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// A StoredMessage is a message with what decides whether a user may see and change it.
type StoredMessage struct {
	events.Message // without its wake list: see WakeListAt
	WakeVersion    int
	OnList         bool             // the user is on the wake list of that version
	In             *events.Interval // the interval by which the user may see it; nil: none
}

// AsSeen returns the message as a member of its channel may see it: possibly without its content, if the
// content changed while the member was not in the channel.
func (m *StoredMessage) AsSeen(c *Channel) events.Message {
	// here: the member was in the channel when the message last changed, and still is.
	here := c.JoinedSeq != nil && *c.JoinedSeq <= m.EditedSeq
	if m.In == nil || c.History == "all" || here {
		return m.Message
	}
	return m.For(*m.In)
}

// A messageRow has the columns that decode a message. They are NULL in an event without a message.
type messageRow struct {
	AuthorUserID   *string          `db:"author_user_id"`
	Content        *string          `db:"content"`
	MentionUserIDs []string         `db:"mention_user_ids"`
	ReplyTo        *uuid.UUID       `db:"reply_to"`
	CreatedAt      *events.Time     `db:"created_at"`
	EditedAt       *events.Time     `db:"edited_at"`
	EditedSeq      *int64           `db:"edited_seq"`
	DeletedAt      *events.Time     `db:"deleted_at"`
	TurnUserID     *string          `db:"turn_user_id"`
	AdminUserID    *string          `db:"admin_user_id"`
	TwoState       *bool            `db:"two_state"`
	WakeVersion    *int             `db:"wake_version"`
	ReplyToUserID  *string          `db:"reply_to_user_id"`
	ByAgent        *bool            `db:"by_agent"`
	Bound          *events.Bound    `db:"bound"`
	AuthorKind     *events.UserKind `db:"author_kind"` // NULL: nothing is known of the user
	AuthorName     *string          `db:"author_name"`
}

// messageColumns are the columns of a messageRow. m is a row of messageRows, or of event_rows, which has the
// same columns.
var messageColumns = columnsOf[messageRow]("m")

// columnsOf lists the columns that the db tags of a struct name, for a SELECT from row.
func columnsOf[T any](row string) string {
	var columns []string
	for _, field := range reflect.VisibleFields(reflect.TypeFor[T]()) {
		columns = append(columns, row+"."+field.Tag.Get("db"))
	}
	return strings.Join(columns, ", ")
}

// fieldsOf returns pointers to the fields of a struct, in their order, to scan many rows into it: to look for
// the fields of each row by name took a third of the time that a message took.
func fieldsOf[T any](row *T) (fields []any) {
	v := reflect.ValueOf(row).Elem()
	for _, field := range reflect.VisibleFields(v.Type()) {
		if !field.Anonymous {
			fields = append(fields, v.FieldByIndex(field.Index).Addr().Interface())
		}
	}
	return fields
}

// message returns the message of a row, without its wake list. It is the only place that builds a message
// from columns.
func (r *messageRow) message(
	id uuid.UUID, seq int64, channel uuid.UUID, guild string, xType events.XType,
) events.Message {
	return events.Message{
		ID: id, Seq: seq, ChannelID: channel, GuildID: guild, XType: xType,
		AuthorUserID: value(r.AuthorUserID), Content: value(r.Content), MentionUserIDs: r.MentionUserIDs,
		ReplyTo: r.ReplyTo, CreatedAt: value(r.CreatedAt), EditedAt: r.EditedAt,
		EditedSeq: value(r.EditedSeq),
		Deleted:   r.DeletedAt != nil, TurnUserID: value(r.TurnUserID), Admin: value(r.AdminUserID),
		TwoState: value(r.TwoState), ReplyToUserID: value(r.ReplyToUserID), ByAgent: value(r.ByAgent),
		Bound:      value(r.Bound),
		AuthorKind: cmp.Or(value(r.AuthorKind), events.Human), AuthorName: value(r.AuthorName),
	}
}

// authored returns rows of messages with their authors, as the users are now. The LIMIT keeps a look-up for
// each message: a planner without statistics would read all users.
func authored(messages string) string {
	return `(
		SELECT m.*, u.kind AS author_kind, u.display_name AS author_name
		FROM ` + messages + ` m
		LEFT JOIN LATERAL (SELECT u.kind, u.display_name FROM users u WHERE u.id = m.author_user_id
			LIMIT 1) u ON true)`
}

// messageRows are the messages with their authors.
var messageRows = authored("messages")

// onList says whether the user $1 is on the wake list that the message m recorded.
const onList = `m.wake_version > 0 AND EXISTS (SELECT FROM wake_lists w
			WHERE w.channel_id = m.channel_id AND w.version = m.wake_version
				AND $1 = ANY (w.user_ids))`

// interval joins the interval i of the user $1 that the message m belongs to, if there is one. It compares
// triples, because only members_pkey fits that: a planner without statistics would walk the roster of the
// channel for each message.
const interval = `LEFT JOIN LATERAL (
		SELECT i.channel_id, i.user_id, i.joined_seq, i.left_seq FROM members i
		WHERE (i.channel_id, i.user_id, i.joined_seq) <= (m.channel_id, $1, m.seq)
		ORDER BY i.channel_id DESC, i.user_id DESC, i.joined_seq DESC LIMIT 1) i
		ON i.channel_id = m.channel_id AND i.user_id = $1 AND (i.left_seq IS NULL OR m.seq < i.left_seq)`

var selectMessage = `
	SELECT m.id, m.seq, m.channel_id, c.guild_id, c.x_type, ` + messageColumns + `,
		` + onList + ` AS on_list,
		i.joined_seq, coalesce(i.left_seq, 0) AS left_seq
	FROM ` + messageRows + ` m
	JOIN channels c ON c.id = m.channel_id
	` + interval

// A storedRow is a row of selectMessage, with the columns in their order.
type storedRow struct {
	ID        uuid.UUID
	Seq       int64
	ChannelID uuid.UUID
	GuildID   string
	XType     events.XType
	messageRow
	OnList    bool
	JoinedSeq *int64
	LeftSeq   int64
}

func scanMessage(row pgx.CollectableRow) (StoredMessage, error) {
	var r storedRow
	err := row.Scan(fieldsOf(&r)...)
	return r.stored(), err
}

func (r *storedRow) stored() StoredMessage {
	m := StoredMessage{
		Message:     r.message(r.ID, r.Seq, r.ChannelID, r.GuildID, r.XType),
		WakeVersion: value(r.WakeVersion),
		OnList:      r.OnList,
	}
	if r.JoinedSeq != nil {
		m.In = &events.Interval{ChannelID: r.ChannelID, Joined: *r.JoinedSeq, Left: r.LeftSeq}
	}
	return m
}

// Message returns a message as user sees it. It does not check whether the user may see the message.
// ErrNotFound.
func (q Queries) Message(ctx context.Context, id uuid.UUID, user string) (StoredMessage, error) {
	rows, err := q.conn.Query(ctx, selectMessage+` WHERE m.id = $2`, user, id)
	if err != nil {
		return StoredMessage{}, sentinel(err)
	}
	m, err := pgx.CollectExactlyOneRow(rows, scanMessage)
	return m, sentinel(err)
}

// MessagesAt returns the messages at some numbers of a channel, oldest first, as user sees them.
func (q Queries) MessagesAt(
	ctx context.Context, channel uuid.UUID, user string, seqs []int64,
) ([]StoredMessage, error) {
	rows, err := q.conn.Query(ctx, selectMessagesAt, user, channel, seqs)
	if err != nil {
		return nil, sentinel(err)
	}
	found, err := pgx.CollectRows(rows, scanMessage)
	return found, sentinel(err)
}

var selectMessagesAt = selectMessage + ` WHERE m.id = ANY (ARRAY(
		SELECT (SELECT a.id FROM messages a WHERE a.channel_id = $2 AND a.seq = s)
		FROM unnest($3::bigint[]) AS s)) ORDER BY m.seq`

// LockMessage locks a message until the transaction ends, and waits until no other transaction changes it. So
// the changes of a message are in the event log in the order in which they were made.
func (tx Tx) LockMessage(ctx context.Context, id uuid.UUID) error {
	const lock = `SELECT FROM messages WHERE id = $1 FOR UPDATE`
	_, err := tx.conn.Exec(ctx, lock, id)
	return err
}

// History selects a part of a channel's messages. Before and After are numbers of the event log; 0 means no
// bound.
type History struct {
	Channel       uuid.UUID
	User          string
	All           bool // include messages from times when the user was not a member
	Before, After int64
	Limit         int
}

// ListMessages calls do with each message of a channel, newest first, until do returns false. So the messages
// need not all be in memory at once. It holds a connection meanwhile. It reads neither what others said while
// the user was not a member, nor each membership in which nobody said anything.
func (q Queries) ListMessages(ctx context.Context, h History, do func(StoredMessage) (more bool)) error {
	query, args := h.query()
	rows, err := q.conn.Query(ctx, query, args...)
	if err != nil {
		return sentinel(err)
	}
	return sentinel(eachMessage(rows, do))
}

func (h History) query() (query string, args []any) {
	const where = ` WHERE m.id = ANY (ARRAY(
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
	return selectMessage + where, []any{h.User, h.Channel, h.After, before, h.All, h.Limit}
}

// eachMessage calls do with each message of rows until do returns false, and closes rows.
func eachMessage(rows pgx.Rows, do func(StoredMessage) (more bool)) error {
	defer rows.Close()
	var r storedRow
	fields := fieldsOf(&r)
	for rows.Next() {
		r = storedRow{}
		if err := rows.Scan(fields...); err != nil {
			return err
		}
		if !do(r.stored()) {
			break
		}
	}
	rows.Close()
	return rows.Err()
}

// EditMessage replaces the text of a message, or deletes the message, and appends the event. The caller must
// hold the message (LockMessage). EditMessage also changes the text in the stored answers of
// Idempotency-Keys. admin, if not empty, hears the event even if they are not a member. EditMessage updates
// m.
func (tx Tx) EditMessage(
	ctx context.Context, m *events.Message, by, content string, deleted bool, admin string,
) (at events.Cursor, err error) {
	const forget = `
		UPDATE idempotency_keys SET answer = convert_to((
			CASE WHEN $3 THEN jsonb_set(convert_from(answer, 'UTF8')::jsonb #- '{message,content}',
				'{message,deleted}', 'true')
			ELSE jsonb_set(convert_from(answer, 'UTF8')::jsonb, '{message,content}',
			to_jsonb($2::text)) END)::text, 'UTF8')
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
	var b pgx.Batch
	b.Queue(forget, m.ID, content, deleted)
	replaceWords(&b, m, content)
	if err := tx.conn.SendBatch(ctx, &b).Close(); err != nil {
		return at, err
	}
	tx.appended.unread = true
	var when events.Time
	err = tx.conn.QueryRow(ctx, query, m.ID, m.ChannelID, by, content, deleted, optional(admin)).
		Scan(&at.Epoch, &at.Seq, &when)
	m.Content = content
	m.Deleted = deleted
	m.EditedSeq = at.Seq
	if !deleted {
		m.EditedAt = &when
	}
	return at, err
}
