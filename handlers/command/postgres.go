package command

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"fabric-guild/db/pgrun"
	"fabric-guild/events/tail"
	"fabric-guild/handlers/config"
)

// openPostgres starts the private Postgres and sets c.URL, if c has no URL. The caller must call stop, which
// blocks until the private Postgres has stopped, for 30 seconds at most. gone is closed when the private
// Postgres has ended and will not start again; with a URL of the caller, gone is nil.
func openPostgres(
	ctx context.Context, c *config.Database, dir string, logger *slog.Logger, stderr io.Writer,
) (stop func(), gone <-chan struct{}, err error) {
	if c.URL != "" {
		return func() {}, nil, nil
	}
	pg, err := pgrun.Start(ctx, pgrun.Config{
		Dir: dir, BinDir: c.PGBin, Source: c.PGSource, Logger: logger,
		Fetching: pgrun.Bar(stderr, tail.IsTerminal(stderr)),
		Progress: func(line string) { _, _ = fmt.Fprintln(stderr, line) },
	})
	if err != nil {
		return nil, nil, err
	}
	c.URL = pg.URL()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := pg.Stop(ctx); err != nil {
			logger.Error("the private Postgres did not stop cleanly", "error", err)
		}
	}, pg.Done(), nil
}
