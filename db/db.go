// Package db keeps the guild in Postgres: the log and its readers' view, channels, members, messages. It is
// the only place that knows SQL and the only one that sees the driver's errors.
package db

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Errors that callers tell apart. Whatever else a method returns is a fault of ours.
var (
	// ErrNotFound: no such row.
	ErrNotFound = errors.New("not found")
	// ErrUnavailable: Postgres cannot be reached, is starting, or is out of something. Whether a commit
	// that was under way took place is not known.
	ErrUnavailable = errors.New("the database is unavailable")
)

// errNoEpoch is what draw_seq answers in a life of the database that has not been written down yet.
const errNoEpoch = "FG001"

// DB is a pool of connections to one guild's database. Its methods may be called from any goroutine.
type DB struct {
	Queries
	pool *pgxpool.Pool
	// Doorbell is rung after every transaction that may have drawn a number, committed or not.
	*Doorbell
}

// Queries are the statements, in a transaction (InTx) or each by itself.
type Queries struct{ conn conn }

type conn interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}

// poolSize is how many connections a node holds at most, where the URL does not say (pool_max_conns): more
// do not commit faster, and five nodes fit into Postgres' default of 100.
const poolSize = 20

// Open connects to a database whose schema is up to date. A server that does not sync its commits is
// refused: an event that was seen and then vanishes takes its number with it, for another event to get.
func Open(ctx context.Context, url string) (*DB, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("the database URL: %w", err)
	}
	if !strings.Contains(url, "pool_max_conns") {
		config.MaxConns = poolSize
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = 5 * time.Second
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	var fsync string
	if err := pool.QueryRow(ctx, `SELECT current_setting('fsync')`).Scan(&fsync); err != nil {
		pool.Close()
		return nil, fmt.Errorf("reach the database: %w", err)
	}
	if fsync != "on" {
		pool.Close()
		return nil, errors.New("this Postgres runs with fsync=off and can lose what it has acknowledged; set fsync=on")
	}
	return &DB{Queries: Queries{pool}, pool: pool, Doorbell: newDoorbell()}, nil
}

// Close waits for the connections that are in use and closes them all.
func (d *DB) Close() { d.pool.Close() }

// Ping reports whether Postgres answers.
func (d *DB) Ping(ctx context.Context) error { return sentinel(d.pool.Ping(ctx)) }

// begin opens a transaction with what every mutation needs, in one round trip: a commit that was
// acknowledged is on disk, whatever the server's default is, and a transaction that hangs, which would hold
// the horizon for every reader, ends by itself. Session settings would not survive a pooler.
const begin = `BEGIN ISOLATION LEVEL READ COMMITTED;
	SET LOCAL synchronous_commit = on;
	SET LOCAL lock_timeout = '5s';
	SET LOCAL statement_timeout = '10s';
	SET LOCAL idle_in_transaction_session_timeout = '5s'`

// InTx runs do in a transaction: its changes and their event are committed together or not at all. The
// append must be the last statement that can wait. do may run twice: in a new life of the database the
// first append fails, and is tried again once the epoch has been written down.
func (d *DB) InTx(ctx context.Context, do func(Queries) error) error {
	err := d.inTx(ctx, do)
	if code(err) == errNoEpoch {
		if err = d.beginEpoch(ctx); err == nil {
			err = d.inTx(ctx, do)
		}
	}
	return sentinel(err)
}

func (d *DB) inTx(ctx context.Context, do func(Queries) error) error {
	ctx, cancel := finish(ctx)
	defer cancel()
	c, err := d.pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer d.ring()
	defer c.Release() // destroys a connection that is still in a transaction
	if _, err := c.Conn().PgConn().Exec(ctx, begin).ReadAll(); err != nil {
		return err
	}
	if err := do(Queries{c}); err != nil {
		_, _ = c.Exec(ctx, `ROLLBACK`) // the first error is the one to tell
		return err
	}
	_, err = c.Exec(ctx, `COMMIT`)
	return err
}

// finish lets a mutation that has begun come to its end, whether or not its client still waits: to cancel
// one costs its connection.
func finish(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), mutationTimeout)
}

const mutationTimeout = 15 * time.Second

func code(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code
	}
	return ""
}

// sentinel turns what the driver says into what callers tell apart.
func sentinel(err error) error {
	switch {
	case err == nil, errors.Is(err, ErrUnavailable), errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, pgx.ErrNoRows):
		return ErrNotFound
	case unavailable(err):
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}

// unavailable goes by SQLSTATE classes (Postgres, Appendix A): 08 connection, 53 resources, 57 operator
// intervention and shutdown, 55P03 and 40 locks that were not had. Without a code it is the connection.
func unavailable(err error) bool {
	c := code(err)
	if c == "" {
		_, connect := errors.AsType[*pgconn.ConnectError](err)
		return connect || pgconn.Timeout(err) || errors.Is(err, context.DeadlineExceeded) || broken(err)
	}
	switch c[:2] {
	case "08", "53", "57", "40":
		return true
	}
	return c == "55P03" || c == "25P03"
}

// broken reports a connection that ended under us: its error has no type of its own.
func broken(err error) bool {
	_, op := errors.AsType[*net.OpError](err)
	return op || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		err.Error() == "conn closed"
}
