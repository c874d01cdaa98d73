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

// Errors of Queries.Recall.
var (
	// ErrInFlight says that a request with the same key is being answered.
	ErrInFlight = errors.New("a request with this key is in flight")
	// ErrOtherBody says that the key came before, with another body.
	ErrOtherBody = errors.New("this key came with another body")
)

// A RequestKey is an Idempotency-Key as it counts: one user's, for one route, with one body.
type RequestKey struct {
	User, Route, Key string
	BodyHash         []byte
}

// An Answer is what a request was answered.
type Answer struct {
	Status  int
	Body    []byte
	Message *uuid.UUID // that it tells of; nil: none
}

// keptFor is how long a key is remembered.
const keptFor = `24 hours`

// Recall takes the key for this transaction, and returns the answer of an earlier request with it; nil if
// there was none. It comes before everything else in the transaction: whoever comes second is told so,
// instead of waiting. ErrInFlight, ErrOtherBody.
func (tx Tx) Recall(ctx context.Context, k RequestKey) (*Answer, error) {
	// Beyond the log's keys, which are below 2^62.
	const lock = `SELECT pg_try_advisory_xact_lock((1::bigint << 62) | (hashtextextended($1 || ' ' || $2 || ' ' || $3, 0) & 4611686018427387903))`
	// A later statement: it sees what was committed before the lock was free.
	const query = `
		SELECT body_hash, status, answer, message_id, created_at <= now() - $4::interval FROM idempotency_keys
		WHERE user_id = $1 AND route = $2 AND key = $3`
	// The sweeper, or an edit, may hold the row. So it goes here, before a number is drawn, and Remember waits for
	// nobody: everyone else who stores this key takes the lock.
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
	err := tx.conn.QueryRow(ctx, query, k.User, k.Route, k.Key, keptFor).Scan(&hash, &a.Status, &a.Body, &a.Message, &old)
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

// Remember keeps the answer to a request with a key, in the transaction that did what it answers, after Recall found
// no answer. It waits for nobody: the event's number has been drawn.
func (tx Tx) Remember(ctx context.Context, k RequestKey, a Answer) error {
	const insert = `
		INSERT INTO idempotency_keys (user_id, route, key, body_hash, status, answer, message_id) VALUES ($1, $2, $3, $4, $5, $6, $7)`
	_, err := tx.conn.Exec(ctx, insert, k.User, k.Route, k.Key, k.BodyHash, a.Status, a.Body, a.Message)
	return err
}

// RunSweeper forgets keys that are no longer remembered, until ctx ends.
func (d *DB) RunSweeper(ctx context.Context, logger *slog.Logger) {
	for ctx.Err() == nil {
		n, err := d.SweepKeys(ctx)
		if err != nil && ctx.Err() == nil {
			logger.Warn("old idempotency keys were not swept", "error", err)
		}
		if d.swept.Add(n); n == 0 {
			wait(ctx, sweepInterval)
		}
	}
}

// Swept is how many keys RunSweeper has forgotten so far.
func (d *DB) Swept() int64 { return d.swept.Load() }

const sweepInterval = 10 * time.Minute

// SweepKeys forgets some of the keys that are no longer remembered, and returns how many.
func (d *DB) SweepKeys(ctx context.Context) (int64, error) {
	const sweep = `
		DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY(
			SELECT ctid FROM idempotency_keys WHERE created_at <= now() - $1::interval LIMIT 1000 FOR UPDATE SKIP LOCKED))`
	tag, err := d.conn.Exec(ctx, sweep, keptFor)
	return tag.RowsAffected(), sentinel(err)
}
