// Package db keeps the guild in Postgres: the event log and its readers' view, channels, members and
// messages. It is the only package that contains SQL, and the only one that sees errors of the Postgres
// driver.
package db

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fabric-guild/events"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/puddle/v2"
	pgxuuid "github.com/vgarvardt/pgx-google-uuid/v5"
)

// Errors that callers distinguish. Every other error of a method is a bug.
var (
	// ErrNotFound says that there is no such row.
	ErrNotFound = errors.New("not found")
	// ErrUnavailable says that Postgres cannot be reached, is starting, or lacks a resource. If a commit was in
	// progress, its result is unknown.
	ErrUnavailable = errors.New("the database is unavailable")
)

// errNoEpoch is the SQLSTATE of draw_seq in a life of the database that has no epoch yet.
const errNoEpoch = "FG001"

// errIncomplete is the SQLSTATE of log_begin while a restore is running. Its message says what to do.
const errIncomplete = "FG002"

// DB is a pool of connections to the database of one guild. Its methods may be called from any goroutine.
type DB struct {
	Queries
	pool *pgxpool.Pool
	// tailer is a separate pool, so that streams do not queue behind posts for a connection.
	tailer *pgxpool.Pool
	mu     sync.Mutex
	wake   wakeLists // a cache; mu guards it
	posts  posts
	places chan struct{} // connection limit of transactions, see InTx
	reads  chan struct{} // connection limit of reads, see Reading
	known  known
	sealed sealed
	tried  tried
	swept  atomic.Int64
	epoch  atomic.Int64 // the latest epoch that the tailer has read from
	mark   mark         // the tailer's position

	Retained Retained
	Words    Words

	workWatch

	// The doorbell rings after every transaction that may have drawn a number, even if it rolled back.
	*Doorbell
}

// Queries are the statements that only read. A DB runs each of them by itself, a Tx in its transaction.
type Queries struct{ conn conn }

// Tx is a transaction that InTx has begun. Mutations and locks exist only here: outside of a transaction a
// lock would be free again at once. A Tx must not be used after the function that got it has returned.
type Tx struct {
	Queries
	work *[]WorkChange // what the commit tells
}

type conn interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}

// poolSize is the maximum number of connections of a server, unless the URL sets pool_max_conns. More
// connections do not commit faster, and five servers fit into Postgres' default of 100.
const poolSize = 20

// tailerPoolSize has one connection for the tailer, one for the check whether Postgres answers, and one for
// the check whether Postgres accepts changes.
const tailerPoolSize = 3

// Open connects to a database whose schema is up to date. It refuses a server that does not sync its commits
// to disk: an event that readers saw could vanish in a crash, and another event would get its number. The
// caller must call Close.
func Open(ctx context.Context, url string) (*DB, error) {
	config, err := reach(ctx, url)
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	tailerConfig := config.Copy()
	tailerConfig.MaxConns = tailerPoolSize
	tailerConfig.MinConns = 0
	tailer, err := pgxpool.NewWithConfig(ctx, tailerConfig)
	if err != nil {
		pool.Close()
		return nil, fmt.Errorf("open the database: %w", err)
	}
	d := &DB{
		Queries: Queries{planned{pool}}, pool: pool, tailer: tailer, wake: wakeLists{}, Doorbell: newDoorbell(),
	}
	// Half of the connections are for transactions and two fifths for reads. The rest is for groups of posts.
	// They never wait for a connection that a slower request holds.
	d.places = make(chan struct{}, max(1, config.MaxConns/2))
	d.reads = make(chan struct{}, max(1, config.MaxConns*2/5))
	d.tried.run = d.tryChange
	d.tried.life, d.tried.stop = context.WithCancel(context.Background())
	d.posts.store = d.storePosts
	d.known.events = map[int64]*events.Event{}
	var fsync string
	if err := tailer.QueryRow(ctx, `SELECT current_setting('fsync')`).Scan(&fsync); err != nil {
		d.Close()
		return nil, fmt.Errorf("reach the database: %w", sentinel(err))
	}
	if fsync != "on" {
		d.Close()
		return nil, errors.New("this Postgres runs with fsync=off and can lose what it has acknowledged; " +
			"set fsync=on")
	}
	return d, nil
}

// parse reads a database URL. The URL may contain settings of the pool too.
func parse(url string) (*pgxpool.Config, error) {
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
	// Environment variables that are meant for other programs must not choose among several hosts or change
	// settings of the server's connections.
	if !named(url, "target_session_attrs") {
		config.ConnConfig.ValidateConnect = nil
	} else if slices.ContainsFunc([]string{"read-only", "standby", "prefer-standby"}, func(which string) bool {
		return strings.Contains(url, "target_session_attrs="+which)
	}) {
		return nil, errors.New("the database URL: target_session_attrs must be any, read-write or primary: " +
			"a standby takes no posts")
	}
	for _, setting := range []string{"options", "timezone"} {
		if !named(url, setting) {
			delete(config.ConnConfig.RuntimeParams, setting)
		}
	}
	config.ConnConfig.DialFunc = dial
	config.AfterConnect = func(_ context.Context, c *pgx.Conn) error {
		pgxuuid.Register(c.TypeMap()) // otherwise pgx formats and parses each id as text
		return nil
	}
	config.PingTimeout = lostAfter // applies to an idle connection before its next use
	return config, nil
}

// Close waits until no connection is in use, and closes all connections.
func (d *DB) Close() {
	d.tried.close()
	d.pool.Close()
	d.tailer.Close()
}

// Ping reports whether Postgres answers.
func (d *DB) Ping(ctx context.Context) error { return sentinel(d.tailer.Ping(ctx)) }

// begin and settings open the transaction of a mutation. The settings do the following:
//
//   - What was acknowledged is on disk, whatever the server's default is.
//   - A transaction that hangs ends by itself. It would hold the horizon for every reader.
//   - Postgres does not plan a statement again each time, which for a post costs as much as running it.
//   - Postgres does not compile a statement (jit), which costs far more.
//   - Every statement finds its rows by an index and in the order of the index, whatever the planner thinks of a
//     table without statistics.
//
// These settings belong to the transaction. Settings of the session would not survive a pooler.
const (
	begin    = `BEGIN ISOLATION LEVEL READ COMMITTED`
	settings = `
		SELECT set_config('synchronous_commit', 'on', true), set_config('lock_timeout', '5s', true),
			set_config('statement_timeout', '10s', true), set_config('idle_in_transaction_session_timeout', '5s', true),
			set_config('plan_cache_mode', 'force_generic_plan', true), set_config('jit', 'off', true),
			set_config('max_parallel_workers_per_gather', '0', true),
			set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true)`
)

// plannedOnce has the planner's settings for a statement outside of a transaction, in the statement's batch.
// A generic plan expects more rows than come. With parallel workers it would read whole tables.
const plannedOnce = `
	SELECT set_config('plan_cache_mode', 'force_generic_plan', true), set_config('jit', 'off', true),
		set_config('max_parallel_workers_per_gather', '0', true),
		set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true)`

// endsByItself has the timeouts for a post outside of a transaction. A post that hung would hold the horizon.
// post_messages makes the other settings.
const endsByItself = `
	SELECT set_config('statement_timeout', '10s', true), set_config('max_parallel_workers_per_gather', '0', true)`

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
		defer d.ring()
		return d.inTx(ctx, d.pool, do)
	})
}

// place waits for one of the connections that transactions may use.
func (d *DB) place(ctx context.Context) (release func(), err error) {
	late, cancel := context.WithTimeout(ctx, acquireTimeout)
	defer cancel()
	select {
	case d.places <- struct{}{}:
		return func() { <-d.places }, nil
	case <-late.Done():
		return nil, lacking(late.Err())
	}
}

// Reading waits for one of the connections that reads outside of a transaction may use, for up to
// acquireTimeout. The caller must call done once. It must not call Reading again before that: two callers
// could wait for each other.
func (d *DB) Reading(ctx context.Context) (done func(), err error) {
	late, cancel := context.WithTimeout(ctx, acquireTimeout)
	defer cancel()
	select {
	case d.reads <- struct{}{}:
		return func() { <-d.reads }, nil
	case <-late.Done():
		return nil, lacking(late.Err())
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
			err = d.contradict(ctx, epoch, "the sequence gave out the number of an event that is there already")
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
	return d.inTxFrom(ctx, pool, nothing, func(ctx context.Context, tx Tx, _ *pgx.Batch) error { return do(ctx, tx) })
}

func nothing(*pgx.Batch) {}

// inTxFrom is inTx for a transaction that saves round trips: the statements that first queues go with the BEGIN,
// and those that do queues at its end go with the COMMIT. Postgres still runs them one after the other.
func (d *DB) inTxFrom(
	ctx context.Context, pool *pgxpool.Pool, first func(*pgx.Batch), do func(context.Context, Tx, *pgx.Batch) error,
) error {
	c, err := acquire(ctx, pool)
	if err != nil {
		return err
	}
	ctx, cancel := finish(ctx)
	defer cancel()
	defer c.Release() // a connection that is still in a transaction is closed
	var opening, closing pgx.Batch
	opening.Queue(begin)
	opening.Queue(settings)
	first(&opening)
	err = c.SendBatch(ctx, &opening).Close()
	var work []WorkChange
	if err == nil {
		err = do(ctx, Tx{Queries{c}, &work}, &closing)
	}
	if err == nil {
		closing.Queue(`COMMIT`)
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

func code(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code
	}
	return ""
}

// sentinel turns errors of the driver into the errors that callers distinguish.
func sentinel(err error) error {
	switch {
	case err == nil, errors.Is(err, ErrUnavailable), errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, pgx.ErrNoRows):
		return ErrNotFound
	case unavailable(err):
		return lacking(err)
	}
	return err
}

// unavailable reports whether an error of the driver means ErrUnavailable. It decides by SQLSTATE (Postgres,
// Appendix A), mostly by class:
//
// - 08: connection
// - 40 and 55P03: a lock was not available
// - 53: resources
// - 57: operator intervention and shutdown
// - 58: system error
// - 25006: the database is read-only
// - 55000: a standby
// - 0A000: a plan that a migration made stale
// - 42P01, 42704 and 42883: tables, constraints and functions that a restore has not created yet
// - FG002: rows that a restore has not loaded yet
// - XX000: a table that a restore is dropping now
// - 2200H: the sequence is at its end
//
// An error without a code comes from the connection.
func unavailable(err error) bool {
	if _, connect := errors.AsType[*pgconn.ConnectError](err); connect {
		return true
	}
	c := code(err)
	if c == "" {
		return pgconn.Timeout(err) || errors.Is(err, context.DeadlineExceeded) || broken(err)
	}
	switch c[:2] {
	case "08", "40", "53", "57", "58":
		return true
	}
	return slices.Contains([]string{
		"0A000", "2200H", "25006", "25P03", "42704", "42883", "42P01", "55000", "55P03", "XX000", errIncomplete,
	}, c)
}

// broken reports whether err means that the connection ended or the pool is closed.
func broken(err error) bool {
	if _, op := errors.AsType[*net.OpError](err); op {
		return true
	}
	ends := []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, pgconn.ErrConnClosed, puddle.ErrClosedPool}
	return slices.ContainsFunc(ends, func(e error) bool { return errors.Is(err, e) })
}
