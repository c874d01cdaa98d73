package db

import (
	"context"

	"fabric-guild/events"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// WakeList returns who is on a channel's wake list, members or not.
func (q Queries) WakeList(ctx context.Context, channel uuid.UUID) ([]string, error) {
	const query = `
		SELECT w.user_ids FROM wake_lists w JOIN channels c ON c.id = w.channel_id AND c.wake_version = w.version
		WHERE c.id = $1`
	var users []string
	err := q.conn.QueryRow(ctx, query, channel).Scan(&users)
	if err == pgx.ErrNoRows {
		return []string{}, nil
	}
	return users, sentinel(err)
}

// SetWakeList gives a channel that is locked a new wake list, and tells of it as an update of the channel.
// Messages that were posted before keep the list that they were decided by.
func (q Queries) SetWakeList(ctx context.Context, channel uuid.UUID, by string, users []string) (events.Cursor, error) {
	if err := q.newWakeList(ctx, channel, users); err != nil {
		return events.Cursor{}, err
	}
	return q.appendEvent(ctx, events.ChannelUpdated, channel, by, "")
}

func (q Queries) newWakeList(ctx context.Context, channel uuid.UUID, users []string) error {
	const query = `
		WITH c AS (
			UPDATE channels SET wake_version = wake_version + 1 WHERE id = $1 RETURNING wake_version
		)
		INSERT INTO wake_lists (channel_id, version, user_ids) SELECT $1, wake_version, $2 FROM c`
	_, err := q.conn.Exec(ctx, query, channel, users)
	return err
}

// Strangers are those of users who are not members of a channel.
func (q Queries) Strangers(ctx context.Context, channel uuid.UUID, users []string) ([]string, error) {
	const query = `
		SELECT u.id FROM unnest($2::text[]) AS u (id)
		WHERE NOT EXISTS (SELECT FROM members m WHERE m.channel_id = $1 AND m.user_id = u.id AND m.left_seq IS NULL)`
	rows, err := q.conn.Query(ctx, query, channel, users)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}
