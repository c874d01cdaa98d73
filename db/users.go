package db

import (
	"context"
	"slices"
	"time"

	"fabric-guild/events"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// A User is what is known of a user.
type User struct {
	ID          string
	Kind        events.UserKind
	DisplayName *string
	// The authority decided the kind or the name. Then the user cannot.
	KindTold bool
	NameTold bool
}

// User returns what is known of a user. A user of whom nothing is known is a human.
func (q Queries) User(ctx context.Context, id string) (User, error) {
	const query = `
		SELECT id, kind, display_name, kind_iat IS NOT NULL AS kind_told, name_iat IS NOT NULL AS name_told
		FROM users WHERE id = $1`
	rows, err := q.conn.Query(ctx, query, id)
	if err != nil {
		return User{}, sentinel(err)
	}
	u, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[User])
	if err == pgx.ErrNoRows {
		return User{ID: id, Kind: events.Human}, nil
	}
	return u, sentinel(err)
}

// LockUser is User, and locks the user's row until the transaction ends. It creates a missing row.
func (tx Tx) LockUser(ctx context.Context, id string) (User, error) {
	const insert = `INSERT INTO users (id) VALUES ($1) ON CONFLICT ON CONSTRAINT users_pkey DO NOTHING`
	const lock = `SELECT FROM users WHERE id = $1 FOR UPDATE`
	for _, statement := range []string{insert, lock} { // the insert cannot see the row that it conflicts with
		if _, err := tx.conn.Exec(ctx, statement, id); err != nil {
			return User{}, err
		}
	}
	return tx.User(ctx, id)
}

// SaveUser stores the kind and the display name of a user whom this transaction has locked.
func (tx Tx) SaveUser(ctx context.Context, u User) error {
	const update = `UPDATE users SET kind = $2, display_name = $3, changed_at = clock_timestamp()
		WHERE id = $1`
	_, err := tx.conn.Exec(ctx, update, u.ID, u.Kind, u.DisplayName)
	return err
}

// IsIDOfAnother reports whether a name is the id of a user other than user, in these or in small letters.
func (q Queries) IsIDOfAnother(ctx context.Context, name, user string) (is bool, err error) {
	const query = `
		SELECT (SELECT true FROM unnest(ARRAY[$1, lower($1)]) AS n (id) WHERE n.id <> $2 AND (
			(SELECT true FROM users u WHERE u.id = n.id)
			OR (SELECT true FROM members m WHERE m.user_id = n.id LIMIT 1)) LIMIT 1) IS NOT NULL`
	err = q.conn.QueryRow(ctx, query, name, user).Scan(&is)
	return is, sentinel(err)
}

// A Told is what the authority says of a user.
type Told struct {
	User string
	Kind events.UserKind // empty: it does not say
	Name string          // empty: it does not say
	At   time.Time       // when the token was issued; zero: the authority says what holds now
}

// TellUser stores what the authority says of a user, unless a newer token has said otherwise, or the
// authority has changed the row within the last minute.
func (d *DB) TellUser(ctx context.Context, t Told) error {
	// With $5 the authority says what holds now: then the time of what it said before does not move on.
	const upsert = `
		INSERT INTO users AS u (id, kind, display_name, kind_iat, name_iat, told_at)
		SELECT $1, coalesce($2::text, 'human'), $3::text, CASE WHEN $2 IS NOT NULL THEN $4::timestamptz END,
			CASE WHEN $3 IS NOT NULL THEN $4::timestamptz END, clock_timestamp()
		ON CONFLICT ON CONSTRAINT users_pkey DO UPDATE SET
			kind = CASE WHEN $2 IS NULL OR u.kind_iat > $4 THEN u.kind ELSE $2 END,
			kind_iat = CASE WHEN $2 IS NULL THEN u.kind_iat ELSE greatest(u.kind_iat, $4) END,
			display_name = CASE WHEN $3 IS NULL OR u.name_iat > $4 THEN u.display_name ELSE $3 END,
			name_iat = CASE WHEN $3 IS NULL THEN u.name_iat ELSE greatest(u.name_iat, $4) END,
			told_at = clock_timestamp(), changed_at = clock_timestamp()
		WHERE coalesce(u.told_at <= clock_timestamp() - interval '1 minute', true) AND (
			$2 IS NOT NULL AND coalesce(u.kind_iat <= $4, true)
				AND (u.kind <> $2 OR u.kind_iat IS NULL OR NOT $5 AND u.kind_iat < $4)
			OR $3 IS NOT NULL AND coalesce(u.name_iat <= $4, true)
				AND (u.display_name IS DISTINCT FROM $3 OR u.name_iat IS NULL OR NOT $5 AND u.name_iat < $4))`
	at := t.At
	if at.IsZero() {
		at = time.Now()
	}
	return d.InTx(ctx, func(ctx context.Context, tx Tx) error {
		name := optional(t.Name)
		if name != nil {
			is, err := tx.IsIDOfAnother(ctx, t.Name, t.User)
			if err != nil {
				return err
			}
			if is {
				name = nil
			}
		}
		_, err := tx.conn.Exec(ctx, upsert, t.User, optional(string(t.Kind)), name, at, t.At.IsZero())
		return err
	})
}

// queueAgent makes a user an agent, unless the authority has said what the user is.
func queueAgent(b *pgx.Batch, user string) {
	const upsert = `
		INSERT INTO users AS u (id, kind) VALUES ($1, 'agent')
		ON CONFLICT ON CONSTRAINT users_pkey DO UPDATE SET kind = 'agent', changed_at = clock_timestamp()
			WHERE u.kind <> 'agent' AND u.kind_iat IS NULL`
	b.Queue(upsert, user)
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

const (
	changesInterval = time.Second
	// A transaction that changed a user may commit this long after it took the time of the change.
	changesOverlap = mutationTimeout + 5*time.Second
	changesPage    = 500
)

// RunRenames calls rename with the users whose kind or display name changed, on any server, until ctx ends.
// It looks every second. It may report a change more than once. An error is not logged: the next look makes
// up for it, and other tasks report that Postgres does not answer.
func (d *DB) RunRenames(ctx context.Context, rename func([]events.Profile)) {
	var seen time.Time
	for ; ctx.Err() == nil; wait(ctx, changesInterval) {
		timed, cancel := context.WithTimeout(ctx, changesInterval*10)
		changed, now, err := d.changedUsers(timed, seen)
		cancel()
		if err != nil {
			continue
		}
		if len(changed) > 0 {
			rename(changed)
		}
		seen = now.Add(-changesOverlap)
	}
}

// changedUsers returns the users who changed since a time, and the time of Postgres' clock before it looked.
// If since is zero, it returns only that time.
func (d *DB) changedUsers(
	ctx context.Context, since time.Time,
) (changed []events.Profile, now time.Time, err error) {
	const query = `
		SELECT id, kind, coalesce(display_name, ''), changed_at FROM users
		WHERE (changed_at, id) > ($1, $2) ORDER BY changed_at, id LIMIT $3`
	if now, err = d.now(ctx); err != nil || since.IsZero() {
		return nil, now, err
	}
	last := ""
	for {
		rows, err := d.conn.Query(ctx, query, since, last, changesPage)
		if err != nil {
			return nil, now, err
		}
		var a events.Profile
		n := len(changed)
		_, err = pgx.ForEachRow(rows, []any{&a.UserID, &a.Kind, &a.Name, &since}, func() error {
			last = a.UserID
			changed = append(changed, a)
			return nil
		})
		if err != nil || len(changed)-n < changesPage {
			return slices.Clip(changed), now, err
		}
	}
}
