package db

import (
	"context"

	"fabric-guild/events"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// NextAfter returns the member whose turn comes after user's: the next member in join order, and after the
// last member the first. It returns user if there is no other member, and "" in a channel without members.
// The answer holds only as long as the caller holds the channel's lock.
func (q Queries) NextAfter(ctx context.Context, channel uuid.UUID, user string) (next string, err error) {
	const query = `
		SELECT coalesce(
			(SELECT n.user_id FROM members n
				WHERE n.channel_id = $1 AND n.left_seq IS NULL AND (n.joined_seq, n.position) > (
					SELECT m.joined_seq, m.position FROM members m
					WHERE m.channel_id = $1 AND m.user_id = $2 ORDER BY m.joined_seq DESC LIMIT 1)
				ORDER BY n.joined_seq, n.position LIMIT 1),
			(SELECT f.user_id FROM members f WHERE f.channel_id = $1 AND f.left_seq IS NULL
				ORDER BY f.joined_seq, f.position LIMIT 1),
			'')`
	err = q.conn.QueryRow(ctx, query, channel, user).Scan(&next)
	return next, err
}

// FirstMember returns the first of users who is a member and is not except. It returns "" if there is none.
func (q Queries) FirstMember(
	ctx context.Context, channel uuid.UUID, users []string, except string,
) (first string, err error) {
	const query = `
		SELECT u.id FROM unnest($2::text[]) WITH ORDINALITY AS u (id, position)
		JOIN members m ON m.channel_id = $1 AND m.user_id = u.id AND m.left_seq IS NULL
		WHERE u.id <> $3 ORDER BY u.position LIMIT 1`
	err = q.conn.QueryRow(ctx, query, channel, users, except).Scan(&first)
	if err == pgx.ErrNoRows {
		err = nil
	}
	return first, err
}

// SetTurn stores whose turn it is in a channel; "" means nobody's. The caller must hold the channel
// exclusively.
func (tx Tx) SetTurn(ctx context.Context, channel uuid.UUID, holder string, paused bool) error {
	const update = `UPDATE channels SET turn_user_id = $2, turn_paused = $3 WHERE id = $1`
	_, err := tx.conn.Exec(ctx, update, channel, optional(holder), paused)
	return err
}

// TellTurn appends the event that the turn is holder's now, and why.
func (tx Tx) TellTurn(ctx context.Context, channel uuid.UUID, holder, reason string) (events.Cursor, error) {
	return tx.appendEvent(ctx, events.TurnChanged, channel, holder, reason)
}
