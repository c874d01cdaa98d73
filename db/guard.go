package db

import (
	"context"

	"fabric-guild/events"

	"github.com/google/uuid"
)

// Go lets agents' messages in a channel wake again: earlier messages do not count for the loop guard any more.
// The caller must hold the channel, so that no post is in progress.
func (tx Tx) Go(ctx context.Context, channel uuid.UUID) error {
	_, err := tx.conn.Exec(ctx, `UPDATE channels SET go_at = clock_timestamp() WHERE id = $1`, channel)
	return err
}

// KindOf returns what a user is. A user of whom nothing is known is a human.
func (q Queries) KindOf(ctx context.Context, user string) (kind events.UserKind, err error) {
	const query = `SELECT coalesce((SELECT u.kind FROM users u WHERE u.id = $1), 'human')`
	err = q.conn.QueryRow(ctx, query, user).Scan(&kind)
	return kind, sentinel(err)
}
