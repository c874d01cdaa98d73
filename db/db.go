// Package db keeps the guild in Postgres: the log and its readers' view, channels, members, messages. It is
// the only place that knows SQL and the only one that sees the driver's errors.
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

// errIncomplete is what log_begin answers while a restore goes on. Its message says what to do.
const errIncomplete = "FG002"

// DB is a pool of connections to one guild's database. Its methods may be called from any goroutine.
type DB struct {
	Queries
	pool *pgxpool.Pool
	// tailer is apart, so that streams do not queue behind posts for a connection.
	tailer *pgxpool.Pool
	mu     sync.Mutex
	wake   wakeLists // some that were read
	posts  posts
	places chan struct{} // of transactions, see InTx
	reads  chan struct{} // of reads, see Reading
	own    own
	tried  tried
	swept  atomic.Int64
	epoch  atomic.Int64 // the latest that the tailer has read from
	mark   mark         // the tailer's

	Retained Retained

	// Doorbell is rung after every transaction that may have drawn a number, committed or not.
	*Doorbell
}

// Queries are the statements that only read. A DB runs each of them by itself, a Tx in its transaction.
type Queries struct{ conn conn }

// Tx is a transaction that InTx has begun. Mutations and locks exist only here: outside of a transaction a lock would
// be free again at once. A Tx must not be used after the function that got it has returned.
type Tx struct{ Queries }

type conn interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}

// poolSize is how many connections a node holds at most, where the URL does not say (pool_max_conns): more
// do not commit faster, and five nodes fit into Postgres' default of 100.
const poolSize = 20

// tailerPoolSize is one for the tailer, one for who asks whether Postgres answers, and one for who asks whether it
// takes changes.
const tailerPoolSize = 3

// Open connects to a database whose schema is up to date. A server that does not sync its commits is
// refused: an event that was seen and then vanishes takes its number with it, for another event to get.
func Open(ctx context.Context, url string) (*DB, error) {
	config, err := reach(ctx, url)
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	own := config.Copy()
	own.MaxConns, own.MinConns = tailerPoolSize, 0
	tailer, err := pgxpool.NewWithConfig(ctx, own)
	if err != nil {
		pool.Close()
		return nil, fmt.Errorf("open the database: %w", err)
	}
	d := &DB{Queries: Queries{planned{pool}}, pool: pool, tailer: tailer, wake: wakeLists{}, Doorbell: newDoorbell()}
	// Half of the connections are for transactions and two fifths for reads. The rest is for groups of posts: they
	// never wait for a connection that others hold.
	d.places, d.reads = make(chan struct{}, max(1, config.MaxConns/2)), make(chan struct{}, max(1, config.MaxConns*2/5))
	d.tried.run = d.tryChange
	d.tried.life, d.tried.stop = context.WithCancel(context.Background())
	d.posts.store, d.own.events = d.storePosts, map[int64]*events.Event{}
	var fsync string
	if err := tailer.QueryRow(ctx, `SELECT current_setting('fsync')`).Scan(&fsync); err != nil {
		d.Close()
		return nil, fmt.Errorf("reach the database: %w", sentinel(err))
	}
	if fsync != "on" {
		d.Close()
		return nil, errors.New("this Postgres runs with fsync=off and can lose what it has acknowledged; set fsync=on")
	}
	return d, nil
}

// parse reads a URL, in which the pool's settings may stand too.
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
	// What other programs are told by the environment is not for the server: which of several hosts to
	// take, and settings.
	if !named(url, "target_session_attrs") {
		config.ConnConfig.ValidateConnect = nil
	} else if slices.ContainsFunc([]string{"read-only", "standby", "prefer-standby"}, func(which string) bool {
		return strings.Contains(url, "target_session_attrs="+which)
	}) {
		return nil, errors.New("the database URL: target_session_attrs must be any, read-write or primary: a standby takes no posts")
	}
	for _, setting := range []string{"options", "timezone"} {
		if !named(url, setting) {
			delete(config.ConnConfig.RuntimeParams, setting)
		}
	}
	config.ConnConfig.DialFunc = dial
	config.AfterConnect = func(_ context.Context, c *pgx.Conn) error {
		pgxuuid.Register(c.TypeMap()) // else each is written out, and parsed again
		return nil
	}
	config.PingTimeout = lostAfter // of a connection that was idle, before it is used
	return config, nil
}

// Close waits for the connections that are in use and closes them all.
func (d *DB) Close() {
	d.tried.close()
	d.pool.Close()
	d.tailer.Close()
}

// Ping reports whether Postgres answers.
func (d *DB) Ping(ctx context.Context) error { return sentinel(d.tailer.Ping(ctx)) }

// begin and settings open a mutation's transaction. What was acknowledged is on disk, whatever the server's
// default is; a transaction that hangs, which would hold the horizon for every reader, ends by itself; and no
// statement is planned anew each time, which for a post costs as much as carrying it out, or compiled, which costs
// far more. Every statement finds its rows by an index and in its order, whatever the planner thinks of a table
// without statistics.
// Settings of the session would not survive a pooler.
const (
	begin    = `BEGIN ISOLATION LEVEL READ COMMITTED`
	settings = `
		SELECT set_config('synchronous_commit', 'on', true), set_config('lock_timeout', '5s', true),
			set_config('statement_timeout', '10s', true), set_config('idle_in_transaction_session_timeout', '5s', true),
			set_config('plan_cache_mode', 'force_generic_plan', true), set_config('jit', 'off', true),
			set_config('max_parallel_workers_per_gather', '0', true),
			set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true)`
)

// plannedOnce is the same for statements outside of a transaction, in their batch. A plan for any values
// expects more rows than come, so with parallel workers it reads whole tables.
const plannedOnce = `
	SELECT set_config('plan_cache_mode', 'force_generic_plan', true), set_config('jit', 'off', true),
		set_config('max_parallel_workers_per_gather', '0', true),
		set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true)`

// endsByItself is for a post outside of a transaction, which would hold the horizon if it hung. The rest of
// settings is in post_messages.
const endsByItself = `
	SELECT set_config('statement_timeout', '10s', true), set_config('max_parallel_workers_per_gather', '0', true)`

// InTx runs do in a transaction: its changes and their event are committed together or not at all. The
// append must be the last statement that can wait. do may run more than once: in a new life of the database
// the first append fails, and is tried again once the epoch has been written down.
//
// A mutation that has begun comes to its end, whether or not its client still waits, so do gets a context of
// its own: to cancel a statement would cost the connection.
//
// It may wait for a channel that somebody holds, so transactions get half of the connections at most: the rest is for
// what waits for nobody.
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

// place waits for one of the places that transactions have.
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

// Reading waits for a place among those who read outside of a transaction, as long as for a connection. The caller
// must call done, once, and must not call Reading again before.
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

// inEpoch tries again where the database turns out to be in a life without an epoch, or to give out numbers
// that it has given out before.
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

// taken reports an append whose number another event has.
func taken(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.Code == "23505" && (pg.ConstraintName == "events_pkey" || pg.ConstraintName == "messages_history")
}

func (d *DB) inTx(ctx context.Context, pool *pgxpool.Pool, do func(context.Context, Tx) error) error {
	c, err := acquire(ctx, pool)
	if err != nil {
		return err
	}
	ctx, cancel := finish(ctx)
	defer cancel()
	defer c.Release() // destroys a connection that is still in a transaction
	var b pgx.Batch
	b.Queue(begin)
	b.Queue(settings)
	if err := c.SendBatch(ctx, &b).Close(); err != nil {
		return err
	}
	if err := do(ctx, Tx{Queries{c}}); err != nil {
		_, _ = c.Exec(ctx, `ROLLBACK`) // the first error is the one to tell
		return err
	}
	_, err = c.Exec(ctx, `COMMIT`)
	return err
}

// acquire waits for a connection as long as the caller does, within bounds.
func acquire(ctx context.Context, pool *pgxpool.Pool) (*pgxpool.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, acquireTimeout)
	defer cancel()
	c, err := pool.Acquire(ctx)
	if err != nil {
		return nil, lacking(err)
	}
	return c, nil
}

// finish is the context of what has begun and is to come to its end.
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

// sentinel turns what the driver says into what callers tell apart.
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

// unavailable goes by SQLSTATE (Postgres, Appendix A), mostly by its classes: 08 connection, 40 and 55P03
// locks that were not had, 53 resources, 57 operator intervention and shutdown, 58 the system; 25006 is a
// database that takes no changes, 55000 comes from a standby, 0A000 from a plan that a migration made stale,
// 42P01, 42704 and 42883 from tables, constraints and functions that a restore has yet to make (FG002: from
// rows), XX000 from one that it drops just now, 2200H from a sequence at its end. Without a code it is the
// connection, and whoever gets none is told by any code.
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
	return slices.Contains([]string{"0A000", "2200H", "25006", "25P03", "42704", "42883", "42P01", "55000", "55P03", "XX000", errIncomplete}, c)
}

// broken reports a connection that ended under us, or a pool that has been closed.
func broken(err error) bool {
	_, op := errors.AsType[*net.OpError](err)
	return op || slices.ContainsFunc([]error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, pgconn.ErrConnClosed, puddle.ErrClosedPool},
		func(e error) bool { return errors.Is(err, e) })
}
