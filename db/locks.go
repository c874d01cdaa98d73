package db

import (
	"context"

	"github.com/google/uuid"
)

// Classes of advisory locks in the two-key space. The event log's own keys are in the one-key space.
const (
	lockEpoch     int32 = 0x46470001 // beginning an epoch
	lockChannel   int32 = 0x46470002 // the roster, name and state of a channel
	lockMigration int32 = 0x46470003 // migrating the schema
	lockRetention int32 = 0x46470004 // removing old events
	lockUser      int32 = 0x46470005 // the number of a user's memberships, near its limit
	lockWakeSweep int32 = 0x46470006 // sweeping the wake queue
	lockWords     int32 = 0x46470008 // filling the search index
)

// LockChannel takes a channel's lock exclusively, and waits until no other transaction changes the channel or
// posts to it. The lock lasts until the transaction ends. LockChannel must come before the first read: what
// is read after it is true at the event's place in the event log. Posts and edits share the lock
// (ShareChannel). Two channels may have the same key. Then they wait for each other, which does no harm.
func (tx Tx) LockChannel(ctx context.Context, channel uuid.UUID) error {
	_, err := tx.conn.Exec(ctx, lockAlone, lockChannel, channel)
	return err
}

// lockAlone is the statement of LockChannel.
const lockAlone = `SELECT pg_advisory_xact_lock($1, hashtext($2::uuid::text))`

// ShareChannel takes a channel's lock shared, as posts and edits do. It waits while another transaction holds
// the lock exclusively.
func (tx Tx) ShareChannel(ctx context.Context, channel uuid.UUID) error {
	_, err := tx.conn.Exec(ctx, shareChannel, lockChannel, channel)
	return err
}

const shareChannel = `SELECT pg_advisory_xact_lock_shared($1, hashtext($2::uuid::text))`
