package db

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Tx is a transaction that InTx has begun. Mutations and locks exist only here: outside of a transaction a
// lock would be free again at once. A Tx must not be used after the function that got it has returned.
type Tx struct {
	Queries
	work     *[]WorkChange // what the commit tells
	appended *appended     // the same; only of InTx, because no other transaction appends
}

// InTx runs do in a transaction. The changes of do and their event are committed together or not at all. The
// append must be the last statement of do that can wait. If do returns an error, InTx rolls back and returns
// the error.
//
// do may run more than once. In a new life of the database the first append fails. InTx then begins the epoch
// and runs do again.
//
// A mutation that has begun runs to its end, even if its client is gone. So do gets a context of its own:
// cancelling a statement would cost the connection.
//
// A transaction may wait for a channel's lock. So transactions may use at most half of the connections. The
// other half is for work that never waits for a lock. InTx waits up to acquireTimeout for a connection, and
// then returns ErrUnavailable.
func (d *DB) InTx(ctx context.Context, do func(context.Context, Tx) error) error {
	release, err := d.place(ctx)
	if err != nil {
		return err
	}
	defer release()
	return d.inEpoch(ctx, func() error {
		var a appended
		ring := d.ringToRead // a transaction that failed may have drawn a number, or may be committed
		defer func() { ring() }()
		err := d.inTx(ctx, d.pool, func(ctx context.Context, tx Tx) error {
			tx.appended = &a
			return do(ctx, tx)
		})
		if err == nil && a.known() {
			d.knows(a.events...)
			ring = d.ring
		}
		return err
	})
}

// place waits for one of the connections that transactions may use.
func (d *DB) place(ctx context.Context) (release func(), err error) { return enter(ctx, d.places) }

// Reading waits for one of the connections that reads outside of a transaction may use, for up to
// acquireTimeout. The caller must call done once. It must not call Reading again before that: two callers
// could wait for each other.
func (d *DB) Reading(ctx context.Context) (done func(), err error) { return enter(ctx, d.reads) }

// enter waits for a place, for up to acquireTimeout.
func enter(ctx context.Context, places chan struct{}) (leave func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, acquireTimeout)
	defer cancel()
	select {
	case places <- struct{}{}:
		return func() { <-places }, nil
	case <-ctx.Done():
		return nil, lacking(ctx.Err())
	}
}

// inEpoch runs do again after it has begun an epoch: if the database is in a life without an epoch, or if the
// sequence gives out numbers that it gave out before.
func (d *DB) inEpoch(ctx context.Context, do func() error) error {
	for range maxEpochs {
		epoch := d.epoch.Load()
		err := do()
		switch {
		case code(err) == errNoEpoch:
			err = d.beginEpoch(ctx)
		case taken(err):
			err = d.contradict(ctx, epoch,
				"the sequence gave out the number of an event that is there already")
		default:
			return sentinel(err)
		}
		if err != nil {
			return sentinel(err)
		}
	}
	return errNoRest
}

// taken reports whether err is from an append whose number another event has.
func taken(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || pg.Code != "23505" {
		return false
	}
	return pg.ConstraintName == "events_pkey" || pg.ConstraintName == "messages_history"
}

func (d *DB) inTx(ctx context.Context, pool *pgxpool.Pool, do func(context.Context, Tx) error) error {
	return d.inTxFrom(ctx, pool, nothing,
		func(ctx context.Context, tx Tx, _ *pgx.Batch) error { return do(ctx, tx) })
}

func nothing(*pgx.Batch) {}

// inTxFrom is inTx for a transaction that saves round trips: the statements that first queues go with the
// BEGIN, and those that do queues at its end go with the COMMIT. Postgres still runs them one after the
// other.
func (d *DB) inTxFrom(
	ctx context.Context, pool *pgxpool.Pool, first func(*pgx.Batch),
	do func(context.Context, Tx, *pgx.Batch) error,
) error {
	c, err := acquire(ctx, pool)
	if err != nil {
		return err
	}
	ctx, cancel := finish(ctx)
	defer cancel()
	defer c.Release() // a connection that is still in a transaction is closed
	var opening, closing pgx.Batch
	d.begin(&opening)
	first(&opening)
	err = c.SendBatch(ctx, &opening).Close()
	var work []WorkChange
	if err == nil {
		err = do(ctx, Tx{Queries: Queries{c}, work: &work}, &closing)
	}
	if err == nil {
		closing.Queue(`COMMIT`).Exec(func(tag pgconn.CommandTag) error {
			if tag.String() != "COMMIT" { // do has hidden the error of a statement
				return pgx.ErrTxCommitRollback
			}
			return nil
		})
		err = c.SendBatch(ctx, &closing).Close()
	}
	if err != nil {
		_, _ = c.Exec(ctx, `ROLLBACK`) // err is the useful error
		return err
	}
	d.tell(work...)
	return nil
}

// acquire waits for a connection until ctx ends, and at most acquireTimeout.
func acquire(ctx context.Context, pool *pgxpool.Pool) (*pgxpool.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, acquireTimeout)
	defer cancel()
	c, err := pool.Acquire(ctx)
	if err != nil {
		return nil, lacking(err)
	}
	return c, nil
}

// finish returns the context of work that has begun and must run to its end. It ignores cancellation, and has
// a deadline of mutationTimeout.
func finish(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), mutationTimeout)
}

const (
	acquireTimeout  = 5 * time.Second
	mutationTimeout = 15 * time.Second
)
