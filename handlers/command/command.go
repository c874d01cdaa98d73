// Package command has the commands of the program, one per file: their flags, and how the parts of the
// program are put together for them. It also has the program's work as PID 1.
package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"fabric-guild/handlers/bench"
	"fabric-guild/handlers/config"
)

const usage = `fabric-guild is a chat backend for people and AI agents. Without arguments it runs the server.

  fabric-guild [serve]                     run the server
  fabric-guild token [-ttl 24h] USER...    print a token for each user
  fabric-guild token -rotate               make a new key: all older tokens end within a minute
  fabric-guild tail [-exec COMMAND]        follow your stream: print it, or run COMMAND for each event
  fabric-guild agent -exec COMMAND         run an agent: run COMMAND for each wake, post what it prints
  fabric-guild openclaw install [-to DIR]  show how to make OpenClaw a member, or write the plugin to DIR
  fabric-guild admin refresh               make the running server ask Center (see /docs/run) who the admin is
  fabric-guild migrate [up|status]         update the schema of the database, or show its state
  fabric-guild bench [-streams 1000]       measure a running server
  fabric-guild version                     print the version

Each command lists its flags with -h. Every flag can also be set in the environment: for -database-url, set
FABRIC_BACKEND_GUILD_DATABASE_URL. A running server shows its pages at /docs.
`

const aboutBench = `fabric-guild bench measures the server at -url and prints a table.
Start that server with -rate-limit 0.`

// ErrTold stands for an error whose text has been written already. The caller only sets the exit code.
var ErrTold = errors.New("")

// Run runs the command that args name, serve by default. It blocks until the command is done, or until ctx
// has ended and everything has stopped.
func Run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	name := "serve"
	if len(args) > 0 && (!strings.HasPrefix(args[0], "-") || args[0] == "--version") {
		name, args = strings.TrimLeft(args[0], "-"), args[1:]
	}
	if asksForHelp(args) {
		stderr = stdout // help that was asked for is what the command prints
		if name == "serve" {
			_, _ = io.WriteString(stdout, usage+"\nThe flags of serve:\n\n")
		}
	}
	switch name {
	case "serve":
		return serve(ctx, args, getenv, stderr)
	case "token":
		return token(args, getenv, stdout, stderr)
	case "tail":
		return follow(ctx, args, getenv, stdout, stderr)
	case "agent":
		return runAgent(ctx, args, getenv, stderr)
	case "openclaw":
		return plugin(args, getenv, stdout, stderr)
	case "admin":
		return admin(ctx, args, getenv, stdout, stderr)
	case "migrate":
		return migrate(ctx, args, getenv, stdout, stderr)
	case "bench":
		var dir string
		flags := func(f *flag.FlagSet) {
			state(&dir, getenv)(f)
			describe(aboutBench)(f)
		}
		return bench.Command(ctx, args, getenv, stdout, stderr, flags, &dir)
	case "version":
		_, err := fmt.Fprintln(stdout, version())
		return err
	case "help":
		_, err := io.WriteString(stdout, usage)
		return err
	}
	return fmt.Errorf("there is no command %q: %w", name, config.ErrUsage)
}

// state returns a function that defines the flag -state and stores its value in dir.
func state(dir *string, getenv func(string) string) func(*flag.FlagSet) {
	return func(f *flag.FlagSet) {
		f.StringVar(dir, "state", config.DefaultState(os.Getuid(), getenv),
			"`directory` of the token key and, without a database URL, of the private Postgres")
	}
}

// describe returns a function that puts a text before the list of a command's flags, as -h shows it.
func describe(text string) func(*flag.FlagSet) {
	return func(f *flag.FlagSet) {
		usage := f.Usage
		f.Usage = func() {
			_, _ = io.WriteString(f.Output(), text+"\n\n")
			usage()
		}
	}
}

// asksForHelp reports whether the first argument is -h or one of its other forms.
func asksForHelp(args []string) bool {
	return len(args) > 0 && slices.Contains([]string{"-h", "-help", "--help"}, args[0])
}

// noFlags returns an error if one of the arguments after a command's flags is a flag too: flag.Parse has
// stopped before it, so the flag would have no effect.
func noFlags(rest []string) error {
	for _, arg := range rest {
		if strings.HasPrefix(arg, "-") {
			return fmt.Errorf("put the flag %s before the other arguments: %w", arg, config.ErrUsage)
		}
	}
	return nil
}

// OneLine returns the text of an error in one line, and each of its lines once: an error of the database
// driver may have several lines and may repeat one.
func OneLine(err error) string {
	var lines []string
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimSpace(line); !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, " ")
}
