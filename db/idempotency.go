package db

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Errors of Tx.Recall.
var (
	// ErrInFlight says that another request with the same key is in progress.
	ErrInFlight = errors.New("a request with this key is in flight")
	// ErrOtherBody says that an earlier request had the same key and another body.
	ErrOtherBody = errors.New("this key came with another body")
)

// A RequestKey is an Idempotency-Key. It counts for one user and one route, and stands for one body.
type RequestKey struct {
	User, Route, Key string
	BodyHash         []byte
}

// An Answer is the answer to a request.
type Answer struct {
	Status  int
	Body    []byte
	Message *uuid.UUID // the message in the answer; nil: none
}

// keptFor is how long the answer to a key is kept.
const keptFor = `24 hours`

// Recall locks the key for this transaction, and returns the answer to an earlier request with the key. It
// returns nil if there was none. It must come before everything else in the transaction. It does not wait: if
// another request holds the key, it returns ErrInFlight. ErrOtherBody.
func (tx Tx) Recall(ctx context.Context, k RequestKey) (*Answer, error) {
	// Bit 62 is set. The event log's keys are below 2^62.
	const lock = `SELECT pg_try_advisory_xact_lock((1::bigint << 62) |
		(hashtextextended($1 || ' ' || $2 || ' ' || $3, 0) & 4611686018427387903))`
	// This must be a later statement: it sees what was committed before the lock was free.
	const query = `
		SELECT body_hash, status, answer, message_id, created_at <= now() - $4::interval FROM idempotency_keys
		WHERE user_id = $1 AND route = $2 AND key = $3`
	// The sweeper or an edit may hold the row. So an old row is deleted here, before a number is drawn. Then
	// Remember waits for nobody: every other transaction that stores this key takes the lock first.
	const forget = `DELETE FROM idempotency_keys WHERE user_id = $1 AND route = $2 AND key = $3`
	var free bool
	if err := tx.conn.QueryRow(ctx, lock, k.User, k.Route, k.Key).Scan(&free); err != nil {
		return nil, err
	}
	if !free {
		return nil, ErrInFlight
	}
	var a Answer
	var hash []byte
	var old bool
	err := tx.conn.QueryRow(ctx, query, k.User, k.Route, k.Key, keptFor).
		Scan(&hash, &a.Status, &a.Body, &a.Message, &old)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, err
	case old:
		_, err := tx.conn.Exec(ctx, forget, k.User, k.Route, k.Key)
		return nil, err
	case !bytes.Equal(hash, k.BodyHash):
		return nil, ErrOtherBody
	}
	return &a, nil
}

// Remember stores the answer to a request with a key, in the transaction that made the changes, after Recall
// found no answer. It waits for nobody, because the event's number has been drawn.
func (tx Tx) Remember(ctx context.Context, k RequestKey, a Answer) error {
	const insert = `
		INSERT INTO idempotency_keys (user_id, route, key, body_hash, status, answer, message_id)
			VALUES ($1, $2, $3, $4, $5, $6, $7)`
	_, err := tx.conn.Exec(ctx, insert, k.User, k.Route, k.Key, k.BodyHash, a.Status, a.Body, a.Message)
	return err
}

// RunSweeper deletes keys that are older than keptFor, until ctx ends. It begins after sweepDelay: a server
// that starts has more urgent work for its connections.
func (d *DB) RunSweeper(ctx context.Context, logger *slog.Logger) {
	wait(ctx, sweepDelay)
	for ctx.Err() == nil {
		n, err := d.SweepKeys(ctx)
		if err != nil && ctx.Err() == nil {
			logger.Warn("sweeping idempotency keys failed; the next sweep tries again", "error", err)
		}
		d.swept.Add(n)
		if n == 0 {
			wait(ctx, sweepInterval)
		}
	}
}

// Swept returns how many keys RunSweeper has deleted.
func (d *DB) Swept() int64 { return d.swept.Load() }

const (
	sweepDelay    = time.Second
	sweepInterval = 10 * time.Minute
)

// SweepKeys deletes a batch of keys that are older than keptFor, and returns how many it deleted.
func (d *DB) SweepKeys(ctx context.Context) (int64, error) {
	const sweep = `
		DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY(
			SELECT ctid FROM idempotency_keys WHERE created_at <= now() - $1::interval LIMIT 1000
				FOR UPDATE SKIP LOCKED))`
	tag, err := d.conn.Exec(ctx, sweep, keptFor)
	return tag.RowsAffected(), sentinel(err)
}
