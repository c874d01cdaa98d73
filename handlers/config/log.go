package config

import (
	"flag"
	"fmt"
	"io"
	"log/slog"
)

// A Log is how the server tells what it does.
type Log struct {
	Level  slog.Level
	Format string // "text" or "json"
}

// Flags defines the flags of a Log.
func (c *Log) Flags(f *flag.FlagSet) {
	f.TextVar(&c.Level, "log-level", slog.LevelInfo, "debug, info, warn or error")
	f.StringVar(&c.Format, "log-format", "text", "text, or json: then every line on stderr is an object")
}

// Check tells what is wrong with the values.
func (c *Log) Check() error {
	if c.Format != "text" && c.Format != "json" {
		return fmt.Errorf("-log-format is to be text or json: %w", ErrUsage)
	}
	return nil
}

// JSON reports whether whoever reads the log takes nothing but JSON.
func (c *Log) JSON() bool { return c.Format == "json" }

// Logger writes to w.
func (c *Log) Logger(w io.Writer) *slog.Logger {
	opts := &slog.HandlerOptions{Level: c.Level}
	if c.JSON() {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}
