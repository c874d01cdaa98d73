package db

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"fabric-guild/migrations"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

// A Migration is one step of the schema and whether it has been taken.
type Migration struct {
	Version int64
	Name    string
	Applied bool
}

// Migrate brings the schema up to date. Any number of processes may call it at once: a lock lets one of them
// through at a time.
func Migrate(ctx context.Context, url string) error {
	return withProvider(ctx, url, func(p *goose.Provider) error {
		if _, err := p.Up(ctx); err != nil {
			return fmt.Errorf("migrate the database: %w", sentinel(err))
		}
		return nil
	})
}

// Migrations tells for each migration whether it has been applied, in their order.
func Migrations(ctx context.Context, url string) ([]Migration, error) {
	var out []Migration
	err := withProvider(ctx, url, func(p *goose.Provider) error {
		status, err := p.Status(ctx)
		if err != nil {
			return fmt.Errorf("read the state of the migrations: %w", sentinel(err))
		}
		for _, s := range status {
			out = append(out, Migration{Version: s.Source.Version, Name: s.Source.Path, Applied: s.State == goose.StateApplied})
		}
		return nil
	})
	return out, err
}

func withProvider(ctx context.Context, url string, use func(*goose.Provider) error) (err error) {
	config, err := reach(ctx, url)
	if err != nil {
		return err
	}
	conn := stdlib.OpenDB(*config.ConnConfig)
	defer func() {
		if e := conn.Close(); err == nil {
			err = e
		}
	}()
	p, err := goose.NewProvider(goose.DialectPostgres, conn, migrations.FS, goose.WithLocker(&migrationLock{}))
	if err != nil {
		return err
	}
	return use(p)
}

// migrationRetry: a second process waits for the first one's migrations, not for a coarse tick.
const migrationRetry = time.Second

// migrationLock is goose's lock.Locker: a transaction that stays open beside the migrations holds it. goose's
// own would be left behind in a process of a pooler.
type migrationLock struct{ tx *sql.Tx }

// Lock tries again and again: who waits in a statement would hold up a CREATE INDEX CONCURRENTLY.
func (l *migrationLock) Lock(ctx context.Context, conns *sql.DB) error {
	const lock = `SELECT pg_try_advisory_xact_lock($1, 0), set_config('idle_in_transaction_session_timeout', '0', true)`
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
		if wait(ctx, migrationRetry); ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// Unlock ends what Lock began.
func (l *migrationLock) Unlock(context.Context, *sql.DB) error { return l.tx.Rollback() }
