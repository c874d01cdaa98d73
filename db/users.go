package db

import (
	"context"

	"github.com/google/uuid"
)

// becomeAgent makes a user an agent, unless the authority has said what the user is.
func (tx Tx) becomeAgent(ctx context.Context, user string) error {
	const upsert = `
		INSERT INTO users AS u (id, kind) VALUES ($1, 'agent')
		ON CONFLICT ON CONSTRAINT users_pkey DO UPDATE SET kind = 'agent', changed_at = clock_timestamp()
			WHERE u.kind <> 'agent' AND u.kind_iat IS NULL`
	_, err := tx.conn.Exec(ctx, upsert, user)
	return err
}

// meet notes that users join a channel, if everybody in the guild may know who does. It must come before the
// append: it waits for other transactions that note the same users. It writes the rows in the order of the
// ids, as every transaction does, so that none deadlocks.
func (tx Tx) meet(ctx context.Context, channel uuid.UUID, users []string) error {
	const insert = `
		INSERT INTO guild_users (guild_id, user_id)
		SELECT c.guild_id, u.id FROM channels c, unnest($2::text[]) AS u (id)
		WHERE c.id = $1 AND NOT c.private AND c.x_type <> 'dm'
			AND (SELECT true FROM guild_users g WHERE g.guild_id = c.guild_id AND g.user_id = u.id) IS NULL
		ORDER BY u.id
		ON CONFLICT ON CONSTRAINT guild_users_pkey DO NOTHING`
	_, err := tx.conn.Exec(ctx, insert, channel, users)
	return err
}
