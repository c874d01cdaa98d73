package db

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"fabric-guild/migrations"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
)

// A Migration is one step of the schema.
type Migration struct {
	Version int64
	Name    string // empty: a newer program applied it, and this program does not know it
	Applied bool
}

// Migrate brings the schema up to date. Any number of processes may call it at the same time: a lock lets one
// of them run. It refuses a schema that a newer program has changed, because this program does not know the
// change. If there is nothing to do, it costs one connection and no lock.
func Migrate(ctx context.Context, url string) error {
	return withProvider(ctx, url, func(first *pgx.Conn, conn *sql.DB, p *goose.Provider) error {
		if isCurrent(ctx, first, p) {
			return nil
		}
		if err := refuseNewer(ctx, conn, p); err != nil {
			return err
		}
		if _, err := p.Up(ctx); err != nil {
			return fmt.Errorf("migrate the database: %w", sentinel(err))
		}
		return refuseNewer(ctx, conn, p) // a newer program may have run while this one waited for the lock
	})
}

// isCurrent reports whether exactly the migrations that this program knows were applied. If it cannot tell,
// it returns false: then goose finds out, and has the better error.
func isCurrent(ctx context.Context, first *pgx.Conn, p *goose.Provider) bool {
	const applied = `SELECT array_agg(version_id ORDER BY version_id) FROM goose_db_version
		WHERE is_applied AND version_id > 0`
	ctx, cancel := context.WithTimeout(ctx, mutationTimeout)
	defer cancel()
	var got []int64
	if err := first.QueryRow(ctx, applied, pgx.QueryExecModeSimpleProtocol).Scan(&got); err != nil {
		return false
	}
	var want []int64
	for _, s := range p.ListSources() { // in order
		want = append(want, s.Version)
	}
	return slices.Equal(got, want)
}

func refuseNewer(ctx context.Context, conn *sql.DB, p *goose.Provider) error {
	newer, err := unknown(ctx, conn, p)
	if err != nil || len(newer) == 0 {
		return err
	}
	sources := p.ListSources()
	return fmt.Errorf("the database's schema has version %d, and this program knows versions up to %d: "+
		"start the program that changed the schema, or a newer one, or restore a backup of the database "+
		"from before",
		newer[len(newer)-1], sources[len(sources)-1].Version)
}

// unknown returns the versions that were applied and that this program does not know, in order.
func unknown(ctx context.Context, conn *sql.DB, p *goose.Provider) (versions []int64, err error) {
	if _, err := p.GetDBVersion(ctx); err != nil { // creates the table if there is none
		return nil, fmt.Errorf("read the version of the schema: %w", sentinel(err))
	}
	store, err := database.NewStore(goose.DialectPostgres, goose.DefaultTablename)
	if err != nil {
		return nil, err
	}
	all, err := store.ListMigrations(ctx, conn)
	if err != nil {
		return nil, fmt.Errorf("read the version of the schema: %w", sentinel(err))
	}
	known := map[int64]bool{0: true} // the empty schema
	for _, s := range p.ListSources() {
		known[s.Version] = true
	}
	for _, m := range all {
		if m.IsApplied && !known[m.Version] {
			versions = append(versions, m.Version)
		}
	}
	slices.Sort(versions)
	return versions, nil
}

// Migrations returns every migration and whether it was applied, in order. Migrations that this program does
// not know come last.
func Migrations(ctx context.Context, url string) ([]Migration, error) {
	var out []Migration
	err := withProvider(ctx, url, func(_ *pgx.Conn, conn *sql.DB, p *goose.Provider) error {
		status, err := p.Status(ctx)
		if err != nil {
			return fmt.Errorf("read the state of the migrations: %w", sentinel(err))
		}
		for _, s := range status {
			applied := s.State == goose.StateApplied
			out = append(out, Migration{Version: s.Source.Version, Name: s.Source.Path, Applied: applied})
		}
		newer, err := unknown(ctx, conn, p)
		for _, v := range newer {
			out = append(out, Migration{Version: v, Applied: true})
		}
		return err
	})
	return out, err
}

// withProvider calls use with the connection that has checked the URL, and with others for goose, which are
// opened when they are used.
func withProvider(
	ctx context.Context, url string, use func(first *pgx.Conn, conn *sql.DB, p *goose.Provider) error,
) (err error) {
	first, config, err := reach(ctx, url)
	if err != nil {
		return err
	}
	defer hangUp(ctx, first)
	conn := stdlib.OpenDB(*config)
	defer func() {
		if e := conn.Close(); err == nil {
			err = e
		}
	}()
	p, err := goose.NewProvider(goose.DialectPostgres, conn, migrations.FS,
		goose.WithLocker(&migrationLock{}))
	if err != nil {
		return err
	}
	return use(first, conn, p)
}

// migrationRetry is short, so that a second process starts soon after the first one's migrations.
const migrationRetry = time.Second

// migrationLock is goose's lock.Locker. A transaction that stays open beside the migrations holds the lock.
// The lock of goose's own Locker would stay behind in a server process of a pooler.
type migrationLock struct{ tx *sql.Tx }

// Lock retries until it has the lock. It must not wait in a statement: that would hold up a CREATE INDEX
// CONCURRENTLY.
func (l *migrationLock) Lock(ctx context.Context, conns *sql.DB) error {
	const lock = `SELECT pg_try_advisory_xact_lock($1, 0),
		set_config('idle_in_transaction_session_timeout', '0', true)`
	for {
		tx, err := conns.BeginTx(context.WithoutCancel(ctx), nil) // for Unlock to end
		if err != nil {
			return err
		}
		var locked bool
		if err := tx.QueryRowContext(ctx, lock, lockMigration).Scan(&locked, new(string)); err != nil {
			_ = tx.Rollback()
			return err
		}
		if locked {
			l.tx = tx
			return nil
		}
		if err := tx.Rollback(); err != nil {
			return err
		}
		wait(ctx, migrationRetry)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// Unlock ends the transaction of Lock.
func (l *migrationLock) Unlock(context.Context, *sql.DB) error { return l.tx.Rollback() }
