package db

import (
	"context"
	"errors"

	"fabric-guild/events"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// ErrRefused says that a post found no channel with its author in it, or one that is archived, or nothing to
// reply to. Nothing was stored; reading the channel tells which.
var ErrRefused = errors.New("the post was refused")

// wakeupsListed is how many of those whom a post wakes its answer names; it counts them all.
const wakeupsListed = 50

// A Post is a message with its place in the log and the members that its answer may have to name.
type Post struct {
	events.Message
	Cursor      events.Cursor
	MemberCount int
	Roster      []string // the first members in join order, one more than an answer lists
}

// PostMessage stores a message and its event: one row each, however many members the channel has. It is the
// hot path: one round trip, which holds the shared side of the channel's lock, so that posts do not wait
// for one another and the roster that is read is the roster at the event's place in the log. mentioned is
// what the text mentions; who of them is a member is decided here. guilds are those that the author's token
// is for, nil: all. ErrRefused.
func (d *DB) PostMessage(ctx context.Context, m events.Message, guilds, mentioned []string) (Post, error) {
	var p Post
	err := d.inEpoch(ctx, func() (err error) {
		p, err = d.postMessage(ctx, m, guilds, mentioned)
		return err
	})
	return p, err
}

func (d *DB) postMessage(ctx context.Context, m events.Message, guilds, mentioned []string) (Post, error) {
	const lock = `
		SELECT set_config('synchronous_commit', 'on', true), set_config('lock_timeout', '5s', true),
			set_config('statement_timeout', '10s', true), set_config('idle_in_transaction_session_timeout', '5s', true),
			pg_advisory_xact_lock_shared($1, hashtext($2::uuid::text))`
	const post = `
		WITH c AS (
			SELECT c.guild_id, c.x_type, c.member_count FROM channels c
			WHERE c.id = $2 AND c.archived_seq IS NULL AND ($8::text[] IS NULL OR c.guild_id = ANY ($8))
				AND EXISTS (SELECT FROM members a WHERE a.channel_id = $2 AND a.user_id = $3 AND a.left_seq IS NULL)
				AND ($6::uuid IS NULL OR EXISTS (SELECT FROM messages r WHERE r.id = $6 AND r.channel_id = $2))
		), at_list AS (
			SELECT coalesce(array_agg(a.user_id ORDER BY u.position), '{}') AS ids
			FROM unnest($5::text[]) WITH ORDINALITY AS u (id, position)
			JOIN members a ON a.channel_id = $2 AND a.user_id = u.id AND a.left_seq IS NULL
			WHERE u.id <> $3
		), e AS (
			INSERT INTO events (kind, channel_id, user_id, message_id)
			SELECT 'message.created', $2, $3, $1 FROM c
			RETURNING seq, occurred_at
		), m AS (
			INSERT INTO messages (id, channel_id, seq, author_user_id, content, mention_user_ids, reply_to, created_at)
			SELECT $1, $2, e.seq, $3, $4, at_list.ids, $6, e.occurred_at FROM e, at_list
		)
		SELECT log_epoch(), e.seq, e.occurred_at,
			c.guild_id, c.x_type, c.member_count, at_list.ids,
			ARRAY(SELECT r.user_id FROM members r WHERE r.channel_id = $2 AND r.left_seq IS NULL
				ORDER BY r.joined_seq, r.position LIMIT $7)
		FROM e, c, at_list`
	p := Post{Message: m}
	var b pgx.Batch
	b.Queue(`BEGIN ISOLATION LEVEL READ COMMITTED`)
	b.Queue(lock, lockChannel, m.ChannelID)
	b.Queue(post, m.ID, m.ChannelID, m.AuthorUserID, m.Content, mentioned, m.ReplyTo, wakeupsListed+1, guilds).QueryRow(func(row pgx.Row) error {
		return row.Scan(&p.Cursor.Epoch, &p.Cursor.Seq, &p.CreatedAt,
			&p.GuildID, &p.XType, &p.MemberCount, &p.MentionUserIDs, &p.Roster)
	})
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

// History is a part of a channel's messages, newest first. Before and After are numbers in the log, 0: none.
type History struct {
	Channel       uuid.UUID
	User          string
	All           bool // also what was said while the user was no member
	Before, After int64
	Limit         int
}

// ListMessages returns messages of a channel in the log's order, the newest first.
func (q Queries) ListMessages(ctx context.Context, h History) ([]events.Message, error) {
	const query = `
		SELECT m.id, m.channel_id, c.guild_id, c.x_type, m.author_user_id, m.content, m.mention_user_ids,
			m.reply_to, m.created_at
		FROM messages m JOIN channels c ON c.id = m.channel_id
		WHERE m.channel_id = $1 AND m.seq > $2 AND ($3::bigint = 0 OR m.seq < $3)
			AND ($4 OR EXISTS (SELECT FROM members i WHERE i.channel_id = $1 AND i.user_id = $5
				AND i.joined_seq <= m.seq AND (i.left_seq IS NULL OR m.seq < i.left_seq)))
		ORDER BY m.seq DESC LIMIT $6`
	rows, err := q.conn.Query(ctx, query, h.Channel, h.After, h.Before, h.All, h.User, h.Limit)
	if err != nil {
		return nil, sentinel(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[events.Message])
	return found, sentinel(err)
}

// MessageSeq is a message's place in the log; ErrNotFound where the channel has no such message.
func (q Queries) MessageSeq(ctx context.Context, channel, message uuid.UUID) (seq int64, err error) {
	const query = `SELECT seq FROM messages WHERE id = $2 AND channel_id = $1`
	err = q.conn.QueryRow(ctx, query, channel, message).Scan(&seq)
	return seq, sentinel(err)
}
