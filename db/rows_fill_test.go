package db_test

import (
	"context"
	"testing"

	"fabric-guild/db"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// comeAndGo stores a number of past intervals. It chooses the numbers itself, as fill does.
func comeAndGo(t *testing.T, c *pgx.Conn, channel uuid.UUID, n int) {
	t.Helper()
	exec(t, c, `
		WITH e AS (
			INSERT INTO events (seq, kind, channel_id, user_id)
			SELECT pg_sequence_last_value('events_seq') + s, (ARRAY['member.joined', 'member.left'])[2 - s %
				2], $1, 'bob'
			FROM generate_series(1, 2 * $2) AS s RETURNING seq, kind
		)
		INSERT INTO members (channel_id, user_id, joined_seq, position, joined_at, left_seq)
		SELECT $1, 'bob', seq, 1, now() - interval '2 days', seq + 1 FROM e
			WHERE kind = 'member.joined'`, channel, n)
	exec(t, c, `SELECT setval('events_seq', (SELECT max(seq) FROM events))`)
}

// oftenGone returns a channel in which bob came and went timesGone() times after a first message. Bob is a
// member now, and wrote the last message.
func oftenGone(t *testing.T, d *db.DB, c *pgx.Conn) (channel uuid.UUID, old, last db.Post) {
	t.Helper()
	channel, _ = create(t, d, "alice")
	old = post(t, d, channel, "alice", "before bob")
	comeAndGo(t, c, channel, timesGone())
	err := d.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		_, err := tx.AddMember(ctx, channel, "bob")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return channel, old, post(t, d, channel, "alice", "hi, bob")
}

// timesGone is how often oftenGone lets bob come and go.
func timesGone() int {
	if testing.Short() {
		return 2000
	}
	return 8000
}

// channelsOf stores a number of channels of one member.
func channelsOf(t *testing.T, c *pgx.Conn, member string, private bool, n int) {
	t.Helper()
	exec(t, c, `
		WITH c AS (
			INSERT INTO channels (id, guild_id, name, x_type, private, history, created_by, member_count)
			SELECT gen_random_uuid(), 'g1', 'ops', 'general', $2, 'joined', $1, 1 FROM generate_series(1, $3)
				RETURNING id
		)
		INSERT INTO members (channel_id, user_id, joined_seq, position, joined_at) SELECT id, $1, 1, 1, now()
			FROM c`, member, private, n)
}

// guildOf stores a number of users of a guild, as if they had joined a channel of it.
func guildOf(t *testing.T, c *pgx.Conn, guild string, n int) {
	t.Helper()
	exec(t, c,
		`INSERT INTO guild_users (guild_id, user_id) SELECT $1, 'user' || n
			FROM generate_series(1, $2::int) AS n`, guild, n)
}
