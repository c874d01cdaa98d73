package bench

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"fabric-guild/handlers"
	"fabric-guild/handlers/config"
)

// Command is fabric-guild bench. state defines the flag of the state directory into dir.
func Command(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer, state func(*flag.FlagSet), dir *string) error {
	var c Config
	var tokens, only string
	var asJSON bool
	rest, err := config.Parse("bench", args, getenv, stderr, state, func(f *flag.FlagSet) {
		f.StringVar(&c.URL, "url", "http://127.0.0.1:8080", "the server, with its base path")
		f.IntVar(&c.Streams, "streams", 1000, "how many streams are held")
		f.DurationVar(&c.Duration, "duration", 4*time.Second, "how long each step lasts")
		f.IntVar(&c.Missed, "missed", 5000, "how many messages a stream is to catch up with")
		f.StringVar(&only, "only", "", "a `list` of "+strings.Join(Scenarios, ", ")+"; empty: all")
		f.StringVar(&tokens, "tokens", "", "a `file` with a token a line, of the users bench-0, bench-1 and so on; empty: they are signed with the key in -state")
		f.BoolVar(&asJSON, "json", false, "the report as JSON")
	})
	if err != nil {
		return err
	}
	if only != "" {
		c.Scenarios = strings.Split(only, ",")
	}
	for _, s := range c.Scenarios {
		if !slices.Contains(Scenarios, s) {
			return fmt.Errorf("-only takes %s: %w", strings.Join(Scenarios, ", "), config.ErrUsage)
		}
	}
	if len(rest) > 0 || c.Streams < roomSize || c.Duration <= 0 || c.Missed < 1 {
		return fmt.Errorf("bench takes flags only, %d streams and one missed message at least, and some time: %w", roomSize, config.ErrUsage)
	}
	c.URL = strings.TrimSuffix(c.URL, "/")
	if c.Token, err = source(tokens, *dir); err != nil {
		return err
	}
	if err := newTarget(c.URL).ready(ctx); err != nil {
		return err
	}
	report, err := Run(ctx, c, stderr)
	if asJSON {
		return errors.Join(err, json.NewEncoder(stdout).Encode(report))
	}
	return errors.Join(err, report.Write(stdout))
}

// source is where the users' tokens come from: a file, or the key in the state directory.
func source(file, dir string) (func(user string) (string, error), error) {
	if file == "" {
		if _, err := os.Stat(dir); err != nil {
			return nil, fmt.Errorf("no key to sign tokens with: pass the server's -state, or -tokens: %w", err)
		}
		tokens, err := handlers.OpenTokens(dir)
		if err != nil {
			return nil, err
		}
		return func(user string) (string, error) { return tokens.Sign(user, nil, 24*time.Hour) }, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	lines := strings.Fields(string(b))
	return func(string) (string, error) {
		if len(lines) == 0 {
			return "", errShort
		}
		token := lines[0]
		lines = lines[1:]
		return token, nil
	}, nil
}
