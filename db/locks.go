package db

import (
	"context"

	"github.com/google/uuid"
)

// Classes of advisory locks in the two-number key space, where the log's own keys are not.
const (
	lockEpoch     int32 = 0x46470001 // beginning an epoch
	lockChannel   int32 = 0x46470002 // a channel's roster, name and state
	lockMigration int32 = 0x46470003 // bringing the schema up to date
	lockRetention int32 = 0x46470004 // removing from the log
	lockUser      int32 = 0x46470005 // the number of a user's memberships, near its limit
	lockWakeSweep int32 = 0x46470006 // sweeping the wake queue
)

// LockChannel waits until no other transaction decides on the channel's roster or posts to it, and holds
// that until the transaction ends. It comes before the first read: what is read after it stands at the
// event's place in the log. Posts and edits share their side of the lock. Two channels may fall on one
// key, which only makes them wait for each other.
func (tx Tx) LockChannel(ctx context.Context, channel uuid.UUID) error {
	const lock = `SELECT pg_advisory_xact_lock($1, hashtext($2::uuid::text))`
	_, err := tx.conn.Exec(ctx, lock, lockChannel, channel)
	return err
}

// ShareChannel is the side of the channel's lock that posts and edits take.
func (tx Tx) ShareChannel(ctx context.Context, channel uuid.UUID) error {
	_, err := tx.conn.Exec(ctx, shareChannel, lockChannel, channel)
	return err
}

const shareChannel = `SELECT pg_advisory_xact_lock_shared($1, hashtext($2::uuid::text))`
