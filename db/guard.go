package db

import (
	"context"

	"github.com/google/uuid"
)

// Go lets agents' messages in a channel wake again: earlier messages do not count for the loop guard any
// more. The caller must hold the channel, so that no post is in progress.
func (tx Tx) Go(ctx context.Context, channel uuid.UUID) error {
	_, err := tx.conn.Exec(ctx, `UPDATE channels SET go_at = clock_timestamp() WHERE id = $1`, channel)
	return err
}
