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

	"fabric-guild/handlers/auth"
	"fabric-guild/handlers/config"
)

// Command runs fabric-guild bench and returns when the run has ended. state defines the flag of the state
// directory, which sets *dir. Usage errors wrap config.ErrUsage.
func Command(
	ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer,
	state func(*flag.FlagSet), dir *string,
) error {
	var c Config
	var tokens, only string
	var asJSON bool
	rest, err := config.Parse("bench", args, getenv, stderr, state, func(f *flag.FlagSet) {
		f.StringVar(&c.URL, "url", "http://127.0.0.1:8080", "`URL` of the server, with its base path")
		f.IntVar(&c.Streams, "streams", 1000, "`number` of streams to open")
		f.DurationVar(&c.Duration, "duration", 4*time.Second, "how long each step lasts")
		f.IntVar(&c.Missed, "missed", 5000, "`number` of messages that a stream must catch up with")
		f.StringVar(&only, "only", "", "comma-separated `list` of "+strings.Join(Scenarios, ", ")+
			" (default all)")
		f.StringVar(&tokens, "tokens", "",
			"`file` with one token per line, for the users bench-0, bench-1 and so on "+
				"(default: sign tokens with the key in -state)")
		f.BoolVar(&asJSON, "json", false, "print the report as JSON")
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
		return fmt.Errorf("bench takes only flags; it needs at least %d streams, a -duration above 0 "+
			"and at least one missed message: %w", roomSize, config.ErrUsage)
	}
	c.URL = strings.TrimSuffix(c.URL, "/")
	if c.Token, err = tokenSource(tokens, *dir); err != nil {
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

// tokenSource returns a function that returns the users' tokens. It reads them from a file, or signs them
// with the key in the state directory.
func tokenSource(file, dir string) (func(user string) (string, error), error) {
	if file == "" {
		if _, err := os.Stat(dir); err != nil {
			return nil, fmt.Errorf("no key to sign tokens with; pass the server's -state, or -tokens: %w",
				err)
		}
		tokens, err := auth.OpenTokens(dir)
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
