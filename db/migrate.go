package db

import (
	"context"
	"fmt"

	"fabric-guild/migrations"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// A Migration is one step of the schema and whether it has been taken.
type Migration struct {
	Version int64
	Name    string
	Applied bool
}

// Migrate brings the schema up to date. Any number of processes may call it at once: a session lock lets
// one of them through at a time, so the URL must lead to Postgres itself, not to a pooler in transaction mode.
func Migrate(ctx context.Context, url string) error {
	return withProvider(url, func(p *goose.Provider) error {
		if _, err := p.Up(ctx); err != nil {
			return fmt.Errorf("migrate the database: %w", err)
		}
		return nil
	})
}

// Migrations tells for each migration whether it has been applied, in their order.
func Migrations(ctx context.Context, url string) ([]Migration, error) {
	var out []Migration
	err := withProvider(url, func(p *goose.Provider) error {
		status, err := p.Status(ctx)
		if err != nil {
			return fmt.Errorf("read the state of the migrations: %w", err)
		}
		for _, s := range status {
			out = append(out, Migration{Version: s.Source.Version, Name: s.Source.Path, Applied: s.State == goose.StateApplied})
		}
		return nil
	})
	return out, err
}

func withProvider(url string, use func(*goose.Provider) error) (err error) {
	config, err := parse(url)
	if err != nil {
		return err
	}
	conn := stdlib.OpenDB(*config.ConnConfig)
	defer func() {
		if e := conn.Close(); err == nil {
			err = e
		}
	}()
	// Retried every second: a second process waits for the first one's migrations, not for a coarse tick.
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300))
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectPostgres, conn, migrations.FS, goose.WithSessionLocker(locker))
	if err != nil {
		return err
	}
	return use(p)
}
