package db

import (
	"context"

	"fabric-guild/events"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// A Member of a channel's roster. JoinedSeq and Position order it.
type Member struct {
	UserID    string
	JoinedAt  events.Time
	JoinedSeq int64
	Position  int32

	Kind        events.UserKind // only of ListMembers
	DisplayName *string
}

// ListMembers returns a page of the roster in join order. The page begins after the place (afterSeq,
// afterPosition).
func (q Queries) ListMembers(
	ctx context.Context, channel uuid.UUID, afterSeq int64, afterPosition int32, limit int,
) ([]Member, error) {
	const query = `
		SELECT m.user_id, m.joined_at, m.joined_seq, m.position, coalesce(u.kind, 'human') AS kind,
			u.display_name
		FROM (SELECT user_id, joined_at, joined_seq, position FROM members
			WHERE channel_id = $1 AND left_seq IS NULL AND (joined_seq, position) > ($2, $3)
			ORDER BY joined_seq, position LIMIT $4) m
		LEFT JOIN LATERAL (SELECT u.kind, u.display_name FROM users u WHERE u.id = m.user_id
		LIMIT 1) u ON true
		ORDER BY m.joined_seq, m.position`
	rows, err := q.conn.Query(ctx, query, channel, afterSeq, afterPosition, limit)
	if err != nil {
		return nil, sentinel(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[Member])
	return found, sentinel(err)
}

// MembersAt returns a page of the users who were members at a number of the event log, in join order.
func (q Queries) MembersAt(
	ctx context.Context, channel uuid.UUID, seq, afterSeq int64, afterPosition int32, limit int,
) ([]Member, error) {
	const query = `
		SELECT user_id, joined_at, joined_seq, position FROM members
		WHERE channel_id = $1 AND joined_seq <= $2 AND (left_seq IS NULL OR left_seq > $2)
			AND (joined_seq, position) > ($3, $4)
		ORDER BY joined_seq, position LIMIT $5`
	rows, err := q.conn.Query(ctx, query, channel, seq, afterSeq, afterPosition, limit)
	if err != nil {
		return nil, sentinel(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByNameLax[Member])
	return found, sentinel(err)
}

// WasMember reports whether user was in a channel at a number of the event log. It compares triples, because
// only members_pkey fits that: a planner with stale statistics would walk the roster of the channel.
func (q Queries) WasMember(
	ctx context.Context, channel uuid.UUID, user string, seq int64,
) (was bool, err error) {
	const query = `
		SELECT coalesce((
			SELECT channel_id = $1 AND user_id = $2 AND (left_seq IS NULL OR left_seq > $3) FROM members
			WHERE (channel_id, user_id, joined_seq) <= ($1, $2, $3)
			ORDER BY channel_id DESC, user_id DESC, joined_seq DESC LIMIT 1), false)`
	err = q.conn.QueryRow(ctx, query, channel, user, seq).Scan(&was)
	return was, sentinel(err)
}

// IsMember reports whether user is in a channel now.
func (q Queries) IsMember(ctx context.Context, channel uuid.UUID, user string) (is bool, err error) {
	const query = `SELECT EXISTS (SELECT FROM members WHERE channel_id = $1 AND user_id = $2
		AND left_seq IS NULL)`
	err = q.conn.QueryRow(ctx, query, channel, user).Scan(&is)
	return is, err
}

// Strangers returns the users who are not members of a channel.
func (q Queries) Strangers(ctx context.Context, channel uuid.UUID, users []string) ([]string, error) {
	const query = `
		SELECT u.id FROM unnest($2::text[]) AS u (id)
		WHERE NOT EXISTS (SELECT FROM members m WHERE m.channel_id = $1 AND m.user_id = u.id
			AND m.left_seq IS NULL)`
	rows, err := q.conn.Query(ctx, query, channel, users)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// AddMember adds a user to a channel and appends the event. The user must not be a member, and the caller
// must hold the channel. TooManyJoins, TooManyMemberships.
func (tx Tx) AddMember(ctx context.Context, channel uuid.UUID, user string) (at events.Cursor, err error) {
	const query = `
		WITH u AS (
			UPDATE channels SET member_count = member_count + 1 WHERE id = $1
		), e AS (
			INSERT INTO events (kind, channel_id, user_id) VALUES ('member.joined', $1, $2) RETURNING *
		), m AS (
			INSERT INTO members (channel_id, user_id, joined_seq, position, joined_at)
			SELECT $1, $2, seq, 0, occurred_at FROM e
		)` + selectAppended
	if err := tx.joinsLeft(ctx, channel, user); err != nil {
		return at, err
	}
	if err := tx.roomFor(ctx, []string{user}); err != nil {
		return at, err
	}
	if err := tx.meet(ctx, channel, []string{user}); err != nil {
		return at, err
	}
	return cursorOf(tx.append(ctx, query, channel, user))
}

// RemoveMember removes a member from a channel and appends the event. The caller must hold the channel.
func (tx Tx) RemoveMember(ctx context.Context, channel uuid.UUID, user string) (at events.Cursor, err error) {
	const query = `
		WITH u AS (
			UPDATE channels SET member_count = member_count - 1 WHERE id = $1
		), e AS (
			INSERT INTO events (kind, channel_id, user_id) VALUES ('member.left', $1, $2) RETURNING *
		), m AS (
			UPDATE members m SET left_seq = e.seq FROM e
			WHERE m.channel_id = $1 AND m.user_id = $2 AND m.left_seq IS NULL
		)` + selectAppended
	return cursorOf(tx.append(ctx, query, channel, user))
}

// MemberNames finds members of a channel by what a text calls them: an id, or a display name in any case. It
// returns for each name that it finds the member's id, and at most limit of them.
func (q Queries) MemberNames(
	ctx context.Context, channel uuid.UUID, names []string, limit int,
) (map[string]string, error) {
	// The inner LIMIT bounds the look-ups if many users have the same name.
	const query = `
		SELECT n.name, n.name FROM unnest($2::text[]) AS n (name)
		WHERE (SELECT true FROM members m WHERE m.channel_id = $1 AND m.user_id = n.name
			AND m.left_seq IS NULL)
		UNION ALL
		(SELECT n.name, u.id FROM unnest($2::text[]) AS n (name) CROSS JOIN LATERAL (
			SELECT u.id FROM users u WHERE lower(u.display_name) = lower(n.name) LIMIT 20) u
		WHERE (SELECT true FROM members m WHERE m.channel_id = $1 AND m.user_id = u.id
		AND m.left_seq IS NULL))
		LIMIT $3`
	rows, err := q.conn.Query(ctx, query, channel, names, limit)
	if err != nil {
		return nil, sentinel(err)
	}
	found := map[string]string{}
	var name, id string
	_, err = pgx.ForEachRow(rows, []any{&name, &id}, func() error {
		found[name] = id
		return nil
	})
	return found, sentinel(err)
}
