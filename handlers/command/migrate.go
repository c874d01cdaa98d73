package command

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"fabric-guild/db"
	"fabric-guild/db/pgrun"
	"fabric-guild/handlers/config"
)

const aboutMigrate = `fabric-guild migrate updates the schema of the database.
fabric-guild migrate status shows its state.
A server updates the schema by itself when it starts.`

// migrate brings the schema up to date, or prints its state.
func migrate(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	var (
		dir  string
		conf config.Database
	)
	if len(args) > 1 && !strings.HasPrefix(args[0], "-") { // flags may also come last
		args = append(slices.Clone(args[1:]), args[0])
	}
	rest, err := config.Parse("migrate", args, getenv, stderr,
		describe(aboutMigrate), state(&dir, getenv), conf.Flags)
	if err != nil {
		return err
	}
	if len(rest) == 0 {
		rest = []string{"up"}
	}
	if err := noFlags(rest); err != nil {
		return err
	}
	if len(rest) > 1 || rest[0] != "up" && rest[0] != "status" {
		return fmt.Errorf("write migrate, migrate up or migrate status: %w", config.ErrUsage)
	}
	if rest[0] == "status" && conf.URL == "" && !pgrun.Exists(dir) { // do not make one only to look at it
		return fmt.Errorf("there is no private Postgres in %s: pass -database-url, or the server's -state",
			dir)
	}
	logger := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	stopPostgres, _, err := openPostgres(ctx, &conf, dir, logger, stderr)
	if err != nil {
		return err
	}
	defer stopPostgres()
	if rest[0] == "up" {
		if err := db.Migrate(ctx, conf.URL); err != nil {
			return err
		}
	}
	migrations, err := db.Migrations(ctx, conf.URL)
	if err != nil {
		return err
	}
	for _, m := range migrations {
		state := "pending"
		if m.Applied {
			state = "applied"
		}
		if m.Name == "" {
			m.Name = fmt.Sprintf(
				"%05d, unknown to this program: a newer version has applied it", m.Version)
		}
		if _, err := fmt.Fprintf(stdout, "%-8s %s\n", state, m.Name); err != nil {
			return err
		}
	}
	return nil
}
