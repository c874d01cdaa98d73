package config

import (
	"flag"
	"fmt"
	"io"
	"log/slog"
)

// A Log are the settings of the server's log.
type Log struct {
	Level  slog.Level
	Format string // "text" or "json"
}

// Flags defines the flags of c in f.
func (c *Log) Flags(f *flag.FlagSet) {
	f.TextVar(&c.Level, "log-level", slog.LevelInfo, "`level` of the log: debug, info, warn or error")
	f.StringVar(&c.Format, "log-format", "text",
		"`format` of the log: text, or json, where every line on stderr is a JSON object")
}

// Check returns an error that wraps ErrUsage if a value is not allowed.
func (c *Log) Check() error {
	if c.Format != "text" && c.Format != "json" {
		return fmt.Errorf("-log-format must be text or json: %w", ErrUsage)
	}
	return nil
}

// JSON reports whether every line on stderr must be JSON.
func (c *Log) JSON() bool { return c.Format == "json" }

// Logger returns a logger that writes to w.
func (c *Log) Logger(w io.Writer) *slog.Logger {
	opts := &slog.HandlerOptions{Level: c.Level}
	if c.JSON() {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}
