package db

import (
	"context"

	"fabric-guild/events"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// ChannelIDs returns the ids of the channels that user was in as of asOf, in order. asOf must be at or below
// the horizon. Memberships as of such a number never change. So ChannelsAsOf may read the channels
// afterwards, in parts.
func (q Queries) ChannelIDs(ctx context.Context, user string, asOf int64) ([]uuid.UUID, error) {
	const query = `
		SELECT i.channel_id FROM members i WHERE i.user_id = $1 AND i.left_seq IS NULL AND i.joined_seq <= $2
		UNION ALL
		SELECT i.channel_id FROM members i WHERE i.user_id = $1 AND i.left_seq > $2 AND i.joined_seq <= $2
		ORDER BY channel_id`
	rows, err := q.conn.Query(ctx, query, user, asOf)
	if err != nil {
		return nil, sentinel(err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	return ids, sentinel(err)
}

// ChannelsAsOf returns the channels of ids that were not archived as of asOf and are in guilds (nil: any), in
// order. Their names may be newer than asOf.
func (q Queries) ChannelsAsOf(
	ctx context.Context, ids []uuid.UUID, guilds []string, asOf int64,
) ([]events.Channel, error) {
	const query = `
		SELECT c.id, c.guild_id, c.name, c.x_type, c.private, c.history, c.created_by, c.created_at,
			NULL::timestamptz AS archived_at,
			c.loop_limit, c.human_wakes, c.agent_wakes
		FROM unnest($1::uuid[]) AS i (id) CROSS JOIN LATERAL (SELECT * FROM channels c WHERE c.id = i.id
		LIMIT 1) c
		WHERE (c.archived_seq IS NULL OR c.archived_seq > $2)
			AND ($3::text[] IS NULL OR c.guild_id = ANY ($3))
		ORDER BY c.id`
	rows, err := q.conn.Query(ctx, query, ids, asOf, guilds)
	if err != nil {
		return nil, sentinel(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[events.Channel])
	return found, sentinel(err)
}
