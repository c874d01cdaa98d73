// Package db keeps the guild in Postgres: the event log, channels, members, messages, users, the wake queue,
// read markers and the search index. It also carries signals and events between servers (Doorbell). It is the
// only package that contains SQL, and the only one that sees errors of the Postgres driver.
package db

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fabric-guild/events"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	pgxuuid "github.com/vgarvardt/pgx-google-uuid/v5"
)

// DB is a pool of connections to the database of one guild. Its methods may be called from any goroutine.
type DB struct {
	Queries
	pool *pgxpool.Pool
	// tailer is a separate pool, so that streams do not queue behind posts for a connection.
	tailer       *pgxpool.Pool
	behindPooler bool // each transaction must make the settings
	mu           sync.Mutex
	lists        wakeLists // a cache of wake lists; mu guards it
	posts        groups[*posting]
	claims       groups[*claiming]
	places       chan struct{} // connection limit of transactions, see InTx
	reads        chan struct{} // connection limit of reads, see Reading
	known        known
	sealed       sealed
	tried        tried
	swept        atomic.Int64
	epoch        atomic.Int64 // the latest epoch that the tailer has read from
	mark         mark         // the tailer's position

	Retained Retained
	Words    Words

	workWatch

	// The doorbell rings after every transaction that may have drawn a number, even if it rolled back.
	*Doorbell
}

// Queries are the statements that only read. A DB runs each of them by itself, a Tx in its transaction.
type Queries struct{ conn conn }

// now returns the time of Postgres' clock.
func (q Queries) now(ctx context.Context) (at time.Time, err error) {
	err = q.conn.QueryRow(ctx, `SELECT clock_timestamp()`).Scan(&at)
	return at, err
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
	config, err := parse(url)
	if err != nil {
		return nil, err
	}
	tailerConfig := config.Copy()
	tailerConfig.MaxConns = tailerPoolSize
	tailerConfig.MinConns, tailerConfig.MinIdleConns = 0, 0 // nothing connects before Open has learned how
	tailerConfig.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error {
		c.DefaultQueryExecMode = config.ConnConfig.DefaultQueryExecMode
		c.RuntimeParams = maps.Clone(config.ConnConfig.RuntimeParams)
		return nil
	}
	tailer, err := pgxpool.NewWithConfig(ctx, tailerConfig)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	behind, err := learnInPool(ctx, tailer, url, config.ConnConfig)
	if err != nil {
		tailer.Close()
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		tailer.Close()
		return nil, fmt.Errorf("open the database: %w", err)
	}
	d := &DB{
		pool: pool, tailer: tailer, behindPooler: behind, lists: wakeLists{}, Doorbell: newDoorbell(),
	}
	d.Queries = Queries{d.outside(pool)}
	// Half of the connections are for transactions and two fifths for reads. The rest is for groups of posts.
	// They never wait for a connection that a slower request holds.
	d.places = make(chan struct{}, max(1, config.MaxConns/2))
	d.reads = make(chan struct{}, max(1, config.MaxConns*2/5))
	d.tried.run = d.tryChange
	d.tried.life, d.tried.stop = context.WithCancel(context.Background())
	d.posts = newPosts(d.storePosts)
	d.claims = newClaims(d)
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
	} else if slices.ContainsFunc([]string{"read-only", "standby", "prefer-standby"},
		func(which string) bool {
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
	config.ConnConfig.RuntimeParams["client_encoding"] = "UTF8" // the role may have another default
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
