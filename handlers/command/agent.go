package command

import (
	"context"
	"fmt"
	"io"

	"fabric-guild/events/agent"
	"fabric-guild/handlers/chat"
	"fabric-guild/handlers/config"
)

// runAgent runs the command agent. It blocks until ctx ends and the work in progress is done, or until the
// server refuses claims.
func runAgent(ctx context.Context, args []string, getenv func(string) string, stderr io.Writer) error {
	c := agent.Command{Mentions: chat.Mentions}
	rest, err := config.Parse("agent", args, getenv, stderr, c.Flags)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return fmt.Errorf("agent takes no argument %q: %w", rest[0], config.ErrUsage)
	}
	return c.Run(ctx, stderr)
}
