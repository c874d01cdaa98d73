package db

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// settings are the run-time parameters of every connection of a DB:
//
//   - What was acknowledged is on disk, whatever the server's default is.
//   - A transaction that hangs ends by itself. It would hold the horizon for every reader. (A function could
//     not set the timeout of the statement that calls it.)
//   - Postgres does not plan a statement again each time, which for a post costs as much as running it.
//   - Postgres does not compile a statement (jit), which costs far more.
//   - Every statement finds its rows by an index and in the order of the index, whatever the planner thinks
//     of a table without statistics. With a bitmap it would read and sort a whole channel. A generic plan
//     expects more rows than come. With parallel workers it would read whole tables.
//
// A connection has them from its start, so that no statement pays for them. A pooler does not pass them on,
// and they would not survive it. Behind a pooler each transaction sets them for itself, by setAll.
var settings = map[string]string{
	"synchronous_commit":                  "on",
	"lock_timeout":                        "5s",
	"statement_timeout":                   "10s",
	"idle_in_transaction_session_timeout": "5s",
	"plan_cache_mode":                     "force_generic_plan",
	"jit":                                 "off",
	"max_parallel_workers_per_gather":     "0",
	"enable_seqscan":                      "off",
	"enable_bitmapscan":                   "off",
}

// setAll is the statement that makes the settings for the rest of a transaction.
var setAll = func() string {
	var calls []string
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		calls = append(calls, "set_config('"+name+"', '"+settings[name]+"', true)")
	}
	return "SELECT " + strings.Join(calls, ", ")
}()

// begin queues the statements that open the transaction of a mutation.
func (d *DB) begin(b *pgx.Batch) {
	b.Queue(`BEGIN ISOLATION LEVEL READ COMMITTED`)
	if d.behindPooler {
		b.Queue(setAll)
	}
}

// outside returns a connection for statements outside of a transaction, which have the settings too.
func (d *DB) outside(c conn) conn {
	if d.behindPooler {
		return settling{c}
	}
	return c
}

// settling sends setAll before each statement, and before the statements of a batch, in the same round trip.
// They are one transaction.
type settling struct{ conn }

func (s settling) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	var all pgx.Batch
	all.Queue(setAll)
	all.QueuedQueries = append(all.QueuedQueries, b.QueuedQueries...)
	results := s.conn.SendBatch(ctx, &all)
	_, _ = results.Exec() // the results of b return its error too
	return results
}

func (s settling) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	var b pgx.Batch
	b.Queue(sql, args...)
	results := s.SendBatch(ctx, &b)
	tag, err := results.Exec()
	return tag, cmp.Or(err, results.Close())
}

func (s settling) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	var b pgx.Batch
	b.Queue(sql, args...)
	results := s.SendBatch(ctx, &b)
	rows, err := results.Query()
	if err != nil {
		_ = results.Close()
		return nil, err
	}
	return &settledRows{rows, results}, nil
}

func (s settling) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	rows, err := s.Query(ctx, sql, args...)
	return settledRow{rows, err}
}

// settledRows releases its connection in Close, which pgx.CollectRows and settledRow.Scan always call.
type settledRows struct {
	pgx.Rows
	results pgx.BatchResults
}

func (r *settledRows) Close() {
	r.Rows.Close()
	_ = r.results.Close() // Err has the error
}

type settledRow struct {
	rows pgx.Rows
	err  error
}

func (r settledRow) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	defer r.rows.Close()
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return pgx.ErrNoRows
	}
	if err := r.rows.Scan(dest...); err != nil {
		return err
	}
	r.rows.Close()
	return r.rows.Err()
}
