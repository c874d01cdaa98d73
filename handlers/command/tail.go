package command

import (
	"context"
	"fmt"
	"io"

	"fabric-guild/events/tail"
	"fabric-guild/handlers/config"
)

// follow runs the command tail. It blocks until ctx ends or the stream cannot be followed any more.
func follow(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	var command tail.Command
	rest, err := config.Parse("tail", args, getenv, stderr, command.Flags)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return fmt.Errorf("tail takes no argument %q: %w", rest[0], config.ErrUsage)
	}
	return command.Run(ctx, stdout, stderr)
}
