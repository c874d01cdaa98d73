package db

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

const (
	// MaxMemberships is how many channels a user can be in at once. Every connect of the user reads all of them, and
	// anybody can add a user to a channel.
	MaxMemberships = 5000
	// MaxJoins is how often a user can begin to be a member of the same channel in joinsPer. Each time leaves an
	// interval, which is kept as long as the channel's history.
	MaxJoins = 100
	joinsPer = 24 * time.Hour

	// From nearMaxMemberships on, those who add a user take turns. Below, more transactions would have to add the same
	// user at the same moment than all servers together have connections.
	nearMaxMemberships = MaxMemberships - 500
	// userLocks is how many locks there are for this: a transaction can't take one for each of a thousand users.
	userLocks = 64
)

// TooManyMemberships is the error of adding a user who is in MaxMemberships channels.
type TooManyMemberships struct{ User string }

func (e *TooManyMemberships) Error() string {
	return fmt.Sprintf("%s is in %d channels, which is the most", e.User, MaxMemberships)
}

// TooManyJoins is the error of adding a user for more than MaxJoins times to the same channel. After Wait it is
// possible again.
type TooManyJoins struct{ Wait time.Duration }

func (e *TooManyJoins) Error() string {
	return fmt.Sprintf("joined %d times in %v", MaxJoins, joinsPer)
}

// roomFor checks that each of users can be in one more channel. It comes before the append: it can wait for others
// who add the same users. TooManyMemberships.
func (tx Tx) roomFor(ctx context.Context, users []string) error {
	const count = `
		SELECT u.id, n.memberships FROM unnest($1::text[]) AS u (id) CROSS JOIN LATERAL (
			SELECT count(*) AS memberships FROM (
				SELECT FROM members m WHERE m.user_id = u.id AND m.left_seq IS NULL LIMIT $3) AS m) AS n
		WHERE n.memberships >= $2`
	// In the order of their numbers, as everyone takes them.
	const lock = `
		SELECT pg_advisory_xact_lock($1, b.bucket) FROM (
			SELECT DISTINCT hashtext(u.id) & ($3::int - 1) AS bucket FROM unnest($2::text[]) AS u (id) ORDER BY 1) AS b`
	for _, least := range []int{nearMaxMemberships, MaxMemberships} { // the second count is a later statement: it sees who was first
		rows, err := tx.conn.Query(ctx, count, users, least, MaxMemberships)
		if err != nil {
			return err
		}
		near, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (user string, err error) {
			var n int
			err = row.Scan(&user, &n)
			return user, err
		})
		switch {
		case err != nil || len(near) == 0:
			return err
		case least == MaxMemberships:
			return &TooManyMemberships{near[0]}
		}
		users = near
		if _, err := tx.conn.Exec(ctx, lock, lockUser, users, userLocks); err != nil {
			return err
		}
	}
	return nil
}

// joinsLeft checks that user can begin one more membership of a channel, which is locked. TooManyJoins.
func (tx Tx) joinsLeft(ctx context.Context, channel uuid.UUID, user string) error {
	const query = `
		SELECT joined_at + $3::interval - now() FROM members WHERE channel_id = $1 AND user_id = $2
		ORDER BY joined_seq DESC OFFSET $4 LIMIT 1`
	var wait time.Duration
	err := tx.conn.QueryRow(ctx, query, channel, user, joinsPer, MaxJoins-1).Scan(&wait)
	switch {
	case err == pgx.ErrNoRows:
		return nil
	case err == nil && wait > 0:
		return &TooManyJoins{wait}
	}
	return err
}
