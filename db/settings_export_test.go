package db

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// SettingsInForce returns the settings on the tailer's first connection, and on one for requests.
func (d *DB) SettingsInForce(ctx context.Context) (first, later map[string]string, err error) {
	first, err = settingsOf(ctx, d.tailer)
	if err != nil {
		return nil, nil, err
	}
	later, err = settingsOf(ctx, d.pool)
	return first, later, err
}

func settingsOf(ctx context.Context, pool *pgxpool.Pool) (map[string]string, error) {
	rows, err := pool.Query(ctx, `SELECT name, setting FROM pg_settings`)
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	var name, value string
	_, err = pgx.ForEachRow(rows, []any{&name, &value}, func() error {
		found[name] = value
		return nil
	})
	return found, err
}
