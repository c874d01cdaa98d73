package db

import (
	"context"
	"slices"

	"fabric-guild/events"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// A Channel is a channel with what one user may do in it.
type Channel struct {
	events.Channel
	ArchivedSeq *int64
	MemberCount int
	CreatorIn   bool   // its creator is still a member
	JoinedSeq   *int64 // where the user's membership began; nil: not a member
	LeftSeq     *int64 // where the latest of the user's past memberships ended
	WakeVersion int
	TurnUserID  *string // discuss, work: whose turn it is; nil: no member is left
	TurnPaused  bool
}

const selectChannel = `SELECT ` + channelColumns + ` FROM channels c WHERE c.id = $1`

// channelColumns are the columns of a Channel c with the id $1, as the user $2 sees it. left_seq is that of
// the latest past membership, found among the last two, because the last one may still be open. With a
// condition on left_seq instead, a planner with stale statistics would choose an index that holds all
// memberships of the user; and without the comparison of triples, the roster of the channel. creator_in is
// not an EXISTS: for several channels, a planner without statistics would hash the memberships of everybody.
const channelColumns = `
	c.id, c.guild_id, c.name, c.x_type, c.private, c.history, c.created_by, c.created_at, c.archived_at,
	c.loop_limit, c.human_wakes, c.agent_wakes, c.archived_seq,
	c.member_count, c.wake_version, c.turn_user_id, c.turn_paused,
	(SELECT m.user_id FROM members m
		WHERE m.channel_id = c.id AND m.user_id = c.created_by AND m.left_seq IS NULL) IS NOT NULL
		AS creator_in,
	(SELECT m.joined_seq FROM members m
		WHERE m.channel_id = c.id AND m.user_id = $2 AND m.left_seq IS NULL) AS joined_seq,
	(SELECT max(l.left_seq) FROM (
		SELECT m.channel_id, m.user_id, m.left_seq FROM members m
		WHERE (m.channel_id, m.user_id, m.joined_seq) <= (c.id, $2, 9223372036854775807)
		ORDER BY m.channel_id DESC, m.user_id DESC, m.joined_seq DESC LIMIT 2) l
		WHERE l.channel_id = c.id AND l.user_id = $2) AS left_seq`

// Channel returns a channel as user sees it. It does not check whether the user may see the channel.
// ErrNotFound.
func (q Queries) Channel(ctx context.Context, id uuid.UUID, user string) (Channel, error) {
	rows, err := q.conn.Query(ctx, selectChannel, id, user)
	if err != nil {
		return Channel{}, sentinel(err)
	}
	c, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Channel])
	return c, sentinel(err)
}

// A ChannelQuery selects channels to list.
type ChannelQuery struct {
	User     string
	GuildID  string   // empty: all guilds
	Guilds   []string // guilds that the user may see; nil: all
	Joinable bool     // list also channels that the user could join
	Archived bool     // list archived channels instead
	After    uuid.UUID
	Limit    int
}

// ListChannels returns channels in the order of their creation. It starts from the user's memberships, and
// from a page of the joinable channels: most channels may be neither.
func (q Queries) ListChannels(ctx context.Context, list ChannelQuery) ([]events.Channel, error) {
	// Each of the two conditions fits one index, which has the joinable channels in order. The condition for
	// all guilds must not match the index by guild: a planner without statistics would read and sort all of
	// that index.
	const inGuild = `j.guild_id = $1 AND NOT j.private AND j.x_type <> 'dm'`
	const inAnyGuild = `(j.private OR j.x_type = 'dm') IS NOT TRUE`
	const page = `
		SELECT c.id, c.guild_id, c.name, c.x_type, c.private, c.history, c.created_by, c.created_at,
			c.archived_at,
			c.loop_limit, c.human_wakes, c.agent_wakes
		FROM channels c
		WHERE c.id = ANY (ARRAY(
				SELECT m.channel_id FROM members m WHERE m.user_id = $5 AND m.left_seq IS NULL
					AND m.channel_id > $4
				UNION ALL
				(SELECT j.id FROM channels j
				WHERE $6 AND (j.archived_seq IS NOT NULL) = $3 AND j.id > $4
					AND ($2::text[] IS NULL OR j.guild_id = ANY ($2)) AND `
	const ofAll = `
				ORDER BY j.id LIMIT $7)))
			AND (c.archived_seq IS NOT NULL) = $3
			AND ($1 = '' OR c.guild_id = $1) AND ($2::text[] IS NULL OR c.guild_id = ANY ($2))
		ORDER BY c.id LIMIT $7`
	query := page + inAnyGuild + ofAll
	if list.GuildID != "" {
		query = page + inGuild + ofAll
	}
	rows, err := q.conn.Query(ctx, query,
		list.GuildID, list.Guilds, list.Archived, list.After, list.User, list.Joinable, list.Limit)
	if err != nil {
		return nil, sentinel(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[events.Channel])
	return found, sentinel(err)
}

// CreateChannel stores c with its first members, in this order, and its wake list, as one event. All
// intervals begin at the event's number. It sets c.CreatedAt. A dm is unique by its two members in the guild:
// if the dm exists already, created is false, and c becomes the existing dm. TooManyMemberships.
func (tx Tx) CreateChannel(
	ctx context.Context, c *events.Channel, members, wake []string,
) (at events.Cursor, created bool, err error) {
	const insert = `
		INSERT INTO channels (id, guild_id, name, x_type, private, history, created_by, member_count, dm_pair,
			turn_user_id,
			loop_limit, human_wakes, agent_wakes)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, CASE WHEN $4 IN ('discuss', 'work') THEN $7 END, $10, $11,
		$12)
		ON CONFLICT (guild_id, dm_pair) WHERE dm_pair IS NOT NULL DO NOTHING
		RETURNING created_at`
	// This must be a later statement: the insert's own statement cannot see the row that the insert
	// conflicted with.
	const existing = `
		SELECT c.id, c.name, c.private, c.history, c.created_by, c.created_at, c.loop_limit, c.human_wakes,
			c.agent_wakes,
			m.joined_seq, log_epoch()
		FROM channels c JOIN members m ON m.channel_id = c.id AND m.user_id = $3 AND m.left_seq IS NULL
		WHERE c.guild_id = $1 AND c.dm_pair = $2`
	const insertMembers = `
		WITH e AS (
			INSERT INTO events (kind, channel_id, user_id) VALUES ('channel.created', $1, $2) RETURNING *
		), m AS (
			INSERT INTO members (channel_id, user_id, joined_seq, position, joined_at)
			SELECT $1, u.id, e.seq, u.position, e.occurred_at
			FROM e, unnest($3::text[]) WITH ORDINALITY AS u (id, position)
		)` + selectAppended
	var pair *string
	if c.XType == events.DM {
		p := min(members[0], members[1]) + " " + max(members[0], members[1])
		pair = &p
	}
	rows, err := tx.conn.Query(ctx, insert,
		c.ID, c.GuildID, c.Name, c.XType, c.Private, c.History, c.CreatedBy, len(members), pair, c.LoopLimit,
		c.HumanWakes, c.AgentWakes)
	if err != nil {
		return at, false, err
	}
	created = true
	c.CreatedAt, err = pgx.CollectExactlyOneRow(rows, pgx.RowTo[events.Time])
	if err == pgx.ErrNoRows {
		err = tx.conn.QueryRow(ctx, existing, c.GuildID, pair, c.CreatedBy).Scan(
			&c.ID, &c.Name, &c.Private, &c.History, &c.CreatedBy, &c.CreatedAt, &c.LoopLimit, &c.HumanWakes,
			&c.AgentWakes,
			&at.Seq, &at.Epoch)
		return at, false, err
	}
	if err != nil {
		return at, false, err
	}
	if err := tx.roomFor(ctx, members); err != nil {
		return at, false, err
	}
	if err := tx.meet(ctx, c.ID, members); err != nil {
		return at, false, err
	}
	if len(wake) > 0 {
		if err := tx.newWakeList(ctx, c.ID, wake); err != nil {
			return at, false, err
		}
	}
	e, err := tx.append(ctx, insertMembers, c.ID, c.CreatedBy, members)
	if err != nil {
		return at, true, err
	}
	e.Joined = slices.Clone(members)
	return e.Cursor, true, nil
}

// A ChannelUpdate says what to change of a channel. Fields that are nil stay.
type ChannelUpdate struct {
	Name       *string
	LoopLimit  *int
	HumanWakes *events.Wakes
	AgentWakes *events.Wakes
}

// Apply changes c in the same way.
func (u ChannelUpdate) Apply(c *events.Channel) {
	set(&c.Name, u.Name)
	set(&c.LoopLimit, u.LoopLimit)
	set(&c.HumanWakes, u.HumanWakes)
	set(&c.AgentWakes, u.AgentWakes)
}

// set changes a field to a value; nil: the field stays.
func set[T any](field, value *T) {
	if value != nil {
		*field = *value
	}
}

// UpdateChannel changes a channel and appends the event. The caller must hold the channel. The event keeps
// the old name, for users who left before.
func (tx Tx) UpdateChannel(
	ctx context.Context, id uuid.UUID, by string, u ChannelUpdate,
) (at events.Cursor, err error) {
	const update = `
		UPDATE channels c SET name = coalesce($2, c.name), loop_limit = coalesce($3, c.loop_limit),
			human_wakes = coalesce($4, c.human_wakes), agent_wakes = coalesce($5, c.agent_wakes)
		FROM channels o WHERE c.id = $1 AND o.id = $1 RETURNING CASE WHEN c.name <> o.name THEN o.name END`
	const insert = `
		WITH e AS (
			INSERT INTO events (kind, channel_id, user_id, old_name) VALUES ('channel.updated', $1, $2, $3)
			RETURNING *
		)` + selectAppended
	var old *string
	err = tx.conn.QueryRow(ctx, update, id, u.Name, u.LoopLimit, u.HumanWakes, u.AgentWakes).Scan(&old)
	if err != nil {
		return at, err
	}
	return cursorOf(tx.append(ctx, insert, id, by, old))
}

// ArchiveChannel archives a channel and appends the event. The caller must hold the channel.
func (tx Tx) ArchiveChannel(
	ctx context.Context, id uuid.UUID, by string,
) (at events.Cursor, archivedAt events.Time, err error) {
	const update = `
		WITH e AS (
			INSERT INTO events (kind, channel_id, user_id) VALUES ('channel.archived', $1, $2) RETURNING *
		), u AS (
			UPDATE channels SET archived_seq = e.seq, archived_at = e.occurred_at FROM e WHERE id = $1
		)` + selectAppended
	e, err := tx.append(ctx, update, id, by)
	if err != nil {
		return at, archivedAt, err
	}
	return e.Cursor, e.OccurredAt, nil
}
