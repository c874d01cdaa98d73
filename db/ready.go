package db

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// A NoChangesError says that Postgres answers and accepts no changes.
type NoChangesError struct {
	Advice string // the reason and what to do, for operators; it does not quote Postgres
	err    error  // the error of Postgres; nil: none
}

func (e *NoChangesError) Error() string {
	text := "the database accepts no changes: " + e.Advice
	if e.err != nil {
		text += ": " + e.err.Error()
	}
	return text
}

func (e *NoChangesError) Unwrap() error { return e.err }

const (
	// The result of a try is valid for this time, for every caller: one for a success, one for a failure.
	changesTakenFor, changesRefusedFor = 5 * time.Second, time.Second
	// changesPatience is how long a try may take. A commit that takes longer counts as a failure.
	changesPatience = 1500 * time.Millisecond
)

// tried is the last try to commit a change, or the running one.
type tried struct {
	run  func(context.Context) error // d.tryChange
	stop context.CancelFunc
	life context.Context // the context of all tries; stop cancels it

	mu      sync.Mutex
	running chan struct{} // closed when the running try ends; nil: no try is running
	ended   time.Time
	err     error
	tries   sync.WaitGroup
}

// TakesChanges reports whether Postgres accepts changes, by committing one that leaves nothing behind. All
// callers within some seconds share one try (single flight). The error is a *NoChangesError, or
// ErrUnavailable if the answer is unknown.
func (d *DB) TakesChanges(ctx context.Context) error {
	running := d.tried.begin()
	if running != nil {
		patience := time.NewTimer(changesPatience)
		defer patience.Stop()
		select {
		case <-running:
		case <-patience.C:
			return slow("one was not committed within", changesPatience)
		case <-ctx.Done():
			return lacking(ctx.Err())
		}
	}
	d.tried.mu.Lock()
	defer d.tried.mu.Unlock()
	return d.tried.err
}

func slow(what string, took time.Duration) error {
	const why = "is it overloaded, its disk slow, or a synchronous standby away?"
	return &NoChangesError{Advice: fmt.Sprintf("%s %v: %s", what, took, why)}
}

// begin returns the end of the try to wait for, or nil if the last result is still valid. A try continues
// when its callers have given up: a cancelled commit would leave a waiting server process behind, one for
// each try.
func (t *tried) begin() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	holds := changesTakenFor
	if t.err != nil {
		holds = changesRefusedFor
	}
	if t.running != nil || !t.ended.IsZero() && time.Since(t.ended) < holds {
		return t.running
	}
	running := make(chan struct{})
	t.running = running
	t.tries.Go(func() {
		begun := time.Now()
		err := t.run(t.life)
		if took := time.Since(begun); err == nil && took > changesPatience {
			err = slow("one took", took.Round(time.Millisecond))
		}
		t.mu.Lock()
		t.running, t.ended, t.err = nil, time.Now(), err
		t.mu.Unlock()
		close(running)
	})
	return running
}

func (t *tried) close() {
	t.stop()
	t.tries.Wait()
}

// tryChange commits a transaction that writes to Postgres' write-ahead log and allocates disk space for a
// temporary file. It leaves no row behind. A new connection may be read-only although this older connection
// is not. So tryChange also reads what ALTER DATABASE and ALTER ROLE have set, the narrowest setting first,
// as Postgres does.
func (d *DB) tryChange(ctx context.Context) error {
	const spill = `SELECT set_config('work_mem', '64kB', true), set_config('temp_tablespaces', '', true)`
	const change = `
		WITH here AS (
			SELECT pg_is_in_recovery() AS standby, current_setting('transaction_read_only')::boolean AS now,
				(SELECT substr(c, length('default_transaction_read_only=') + 1)::boolean
				FROM pg_db_role_setting s, unnest(s.setconfig) AS c
				WHERE c LIKE 'default\_transaction\_read\_only=%'
					AND s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
					AND s.setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = session_user))
				ORDER BY s.setrole <> 0 DESC, s.setdatabase <> 0 DESC LIMIT 1) AS soon
		)
		SELECT standby, now OR coalesce(soon, false), (SELECT count(*) FROM generate_series(1, 10000)),
			CASE WHEN NOT now THEN pg_logical_emit_message(true, 'fabric_guild', '')::text END
		FROM here`
	ctx, cancel := context.WithTimeout(ctx, mutationTimeout)
	defer cancel()
	var standby, readOnly bool
	var b pgx.Batch
	d.begin(&b)
	b.Queue(spill)
	b.Queue(change).QueryRow(func(row pgx.Row) error { return row.Scan(&standby, &readOnly, nil, nil) })
	b.Queue(`COMMIT`)
	err := d.tailer.SendBatch(ctx, &b).Close()
	switch {
	case err == nil && standby:
		return &NoChangesError{Advice: adviceStandby}
	case err == nil && readOnly:
		const advice = "default_transaction_read_only is on for this database or its user: switch it off"
		return &NoChangesError{Advice: advice}
	case err == nil:
		return nil
	case strings.HasPrefix(code(err), "53") && code(err) != "53300": // 53300: there was no connection
		return &NoChangesError{advice(err), err}
	}
	return lacking(err)
}
