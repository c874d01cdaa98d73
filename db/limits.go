package db

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

const (
	// MaxMemberships is how many channels a user can be in at once. Each connect of the user reads all of
	// them, and anybody can add a user to a channel.
	MaxMemberships = 5000
	// MaxJoins is how often a user can join the same channel within joinsPer. Each membership leaves an
	// interval, and intervals are kept as long as the channel's history.
	MaxJoins = 100
	joinsPer = 24 * time.Hour

	// From nearMaxMemberships on, transactions that add the same user take turns. Below it, more transactions
	// would have to add the user at the same moment than all servers together have connections.
	nearMaxMemberships = MaxMemberships - 500
	// userLocks is the number of locks for this. A transaction cannot take one lock for each of a thousand
	// users.
	userLocks = 64
)

// TooManyMemberships says that a user is in MaxMemberships channels already.
type TooManyMemberships struct{ User string }

func (e *TooManyMemberships) Error() string {
	return fmt.Sprintf("%s is in %d channels, which is the maximum", e.User, MaxMemberships)
}

// TooManyJoins says that a user has joined the same channel MaxJoins times. After Wait the user can join
// again.
type TooManyJoins struct{ Wait time.Duration }

func (e *TooManyJoins) Error() string {
	return fmt.Sprintf("joined %d times in %v", MaxJoins, joinsPer)
}

// roomFor checks that each of users can be in one more channel. It must come before the append: it may wait
// for other transactions that add the same users. TooManyMemberships.
func (tx Tx) roomFor(ctx context.Context, users []string) error {
	const count = `
		SELECT u.id, n.memberships FROM unnest($1::text[]) AS u (id) CROSS JOIN LATERAL (
			SELECT count(*) AS memberships FROM (
				SELECT FROM members m WHERE m.user_id = u.id AND m.left_seq IS NULL LIMIT $3) AS m) AS n
		WHERE n.memberships >= $2`
	// Every transaction takes these locks in the order of their numbers, so that none deadlocks.
	const lock = `
		SELECT pg_advisory_xact_lock($1, b.bucket) FROM (
			SELECT DISTINCT hashtext(u.id) & ($3::int - 1) AS bucket FROM unnest($2::text[]) AS u (id)
				ORDER BY 1) AS b`
	// The second count is a later statement, so it sees what a transaction that had the lock first has
	// committed.
	for _, least := range []int{nearMaxMemberships, MaxMemberships} {
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

// joinsLeft checks that user can join a channel once more. The caller must hold the channel. TooManyJoins.
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
