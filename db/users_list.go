package db

import (
	"context"
	"strings"

	"fabric-guild/events"

	"github.com/jackc/pgx/v5"
)

// A UserQuery selects users whom a user may know: those who share a channel with the user, and those who are
// or were in a channel that the user could join.
type UserQuery struct {
	User   string
	Guilds []string // only channels of these guilds; nil: all
	Like   string   // a part of the id or of the display name, in small letters; empty: everyone
	After  string   // the list begins after this id
	Limit  int
}

// A ListedUser is a user as lists show it.
type ListedUser struct {
	ID          string
	Kind        events.UserKind
	DisplayName *string
}

const (
	usersPage  = 500 // users whom a statement compares with Like
	usersPages = 4   // statements of one call
	isHidden   = `(c.private OR c.x_type = 'dm')`
)

// ListUsers returns users in the order of their ids. next is where the list goes on; empty: it ends here.
// With Like there may be fewer users than Limit, and still a next: one call looks at 2,000 users.
//
// It reads the rows of guild_users, and rosters of the user's own channels. Each part begins after an id and
// is bounded. So it reads nothing about users whom the user may not know.
func (q Queries) ListUsers(ctx context.Context, list UserQuery) (found []ListedUser, next string, err error) {
	const ofGuilds = `
			(SELECT g.user_id AS id FROM unnest($2::text[]) AS a (guild_id) CROSS JOIN LATERAL (
				SELECT g.user_id FROM guild_users g WHERE g.guild_id = a.guild_id AND g.user_id > $3
				ORDER BY g.user_id LIMIT $4) g)`
	const ofAll = `
			(SELECT DISTINCT g.user_id AS id FROM guild_users g WHERE g.user_id > $3 AND $2::text[] IS NULL
			ORDER BY g.user_id LIMIT $4)`
	const before = `
		WITH page AS (SELECT DISTINCT p.id FROM (`
	const after = `
			UNION ALL
			(SELECT m.user_id AS id FROM members i
			CROSS JOIN LATERAL (SELECT c.id FROM channels c WHERE c.id = i.channel_id AND ` + isHidden + `
				AND ($2::text[] IS NULL OR c.guild_id = ANY ($2)) LIMIT 1) c
			CROSS JOIN LATERAL (SELECT m.user_id FROM members m
				WHERE m.channel_id = c.id AND m.left_seq IS NULL AND m.user_id > $3 ORDER BY m.user_id
					LIMIT $4) m
			WHERE i.user_id = $1 AND i.left_seq IS NULL)) p
			ORDER BY p.id LIMIT $4)
		SELECT p.id, coalesce(u.kind, 'human') AS kind, u.display_name FROM page p
		LEFT JOIN LATERAL (SELECT u.kind, u.display_name FROM users u WHERE u.id = p.id LIMIT 1) u ON true
		ORDER BY p.id`
	query := before + ofAll + after
	if list.Guilds != nil {
		query = before + ofGuilds + after
	}
	pages, size := 1, list.Limit+1
	if list.Like != "" {
		pages, size = usersPages, usersPage
	}
	for range pages {
		rows, err := q.conn.Query(ctx, query, list.User, list.Guilds, list.After, size)
		if err != nil {
			return nil, "", sentinel(err)
		}
		page, err := pgx.CollectRows(rows, pgx.RowToStructByName[ListedUser])
		if err != nil {
			return nil, "", sentinel(err)
		}
		for _, u := range page {
			if len(found) == list.Limit {
				return found, list.After, nil
			}
			list.After = u.ID
			if list.Like == "" || u.like(list.Like) {
				found = append(found, u)
			}
		}
		if len(page) < size {
			return found, "", nil
		}
	}
	return found, list.After, nil
}

func (u *ListedUser) like(part string) bool {
	return strings.Contains(strings.ToLower(u.ID), part) ||
		strings.Contains(strings.ToLower(value(u.DisplayName)), part)
}

// UsersByID returns those of ids whom the user of the query may know, in the order of their ids.
func (q Queries) UsersByID(ctx context.Context, list UserQuery, ids []string) ([]ListedUser, error) {
	const query = `
		SELECT w.id, coalesce(u.kind, 'human') AS kind, u.display_name
			FROM (SELECT DISTINCT unnest($3::text[]) AS id) w
		LEFT JOIN LATERAL (SELECT u.kind, u.display_name FROM users u WHERE u.id = w.id LIMIT 1) u ON true
		WHERE CASE WHEN $2::text[] IS NULL THEN (SELECT true FROM guild_users g WHERE g.user_id = w.id
			LIMIT 1)
			ELSE (SELECT true FROM unnest($2) AS a (guild_id)
				WHERE (SELECT true FROM guild_users g WHERE g.guild_id = a.guild_id AND g.user_id = w.id)
					LIMIT 1) END
			OR (SELECT true FROM members i
				CROSS JOIN LATERAL (SELECT c.id FROM channels c WHERE c.id = i.channel_id AND ` + isHidden + `
					AND ($2::text[] IS NULL OR c.guild_id = ANY ($2)) LIMIT 1) c
				WHERE i.user_id = $1 AND i.left_seq IS NULL
					AND (SELECT true FROM members m WHERE m.user_id = w.id AND m.channel_id = c.id
						AND m.left_seq IS NULL)
				LIMIT 1)
		ORDER BY w.id`
	rows, err := q.conn.Query(ctx, query, list.User, list.Guilds, ids)
	if err != nil {
		return nil, sentinel(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[ListedUser])
	return found, sentinel(err)
}
