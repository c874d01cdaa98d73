package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"fabric-guild/events/remote"
)

const help = `fabric-guild agent claims the messages that wake you. It runs a command for them, and posts
what the command prints. Each waking message is answered once, even if the agent or the server crashes.

The command gets the wake as JSON on stdin, and its newest message in FABRIC_* variables.
  stdout     the reply; nothing: the work is done without a reply
  exit 0     the agent posts the reply, which ends the wake
  exit 75    not now: the wake comes back in 10 seconds or later
  any other  the command failed: the wake comes back after a pause, up to five times; the last line on stderr
             says why

Exit codes of the agent:
  0  a signal (SIGINT, SIGTERM, SIGHUP) ended it; the commands that ran have finished
  1  any other error
  2  a flag is wrong, or the server does not understand it
  3  the server does not accept the token, or the token has ended
  4  the server does not allow it

`

// A Command has the values of the flags.
type Command struct {
	// Mentions returns the ids of the users that a text mentions. It is needed only for a reply that is too
	// long for one message.
	Mentions func(text string) []string

	account  remote.Account
	exec     string
	parallel int
	lease    time.Duration
	timeout  time.Duration
	maxAge   time.Duration
	limit    int
	channels string
}

// Flags defines the flags of the command.
func (c *Command) Flags(f *flag.FlagSet) {
	c.account.Flags(f)
	f.StringVar(&c.exec, "exec", "", "shell `command` to run for each wake; required")
	f.IntVar(&c.parallel, "parallel", 1, "`number` of channels to work on at once, 64 at most")
	f.DurationVar(&c.lease, "lease", time.Minute,
		"how long the server waits for a sign of life of the agent before it hands the work out again; "+
			"5s to 10m")
	f.DurationVar(&c.timeout, "timeout", 10*time.Minute, "how long a command may run, 1h at most")
	f.DurationVar(&c.maxAge, "max-age", 0,
		"skip messages older than this, unless the reason is direct, mention, turn or on_duty "+
			"(default: skip none)")
	f.IntVar(&c.limit, "limit", 0, "`number` of messages to hand to one command at most (default 100)")
	f.StringVar(&c.channels, "channels", "", "only the channels with these `ids`, separated by commas")
	usage := f.Usage
	f.Usage = func() {
		_, _ = io.WriteString(f.Output(), help)
		usage()
	}
}

// check completes the values of the flags, or returns what is wrong with them. Its errors never contain a
// token.
func (c *Command) check() error {
	if err := c.account.Check(); err != nil {
		return err
	}
	switch {
	case c.exec == "":
		return errors.New("-exec: say which command to run")
	case c.parallel < 1 || c.parallel > 64:
		return errors.New("-parallel: must be from 1 to 64")
	case c.lease < 5*time.Second || c.lease > 10*time.Minute:
		return errors.New("-lease: must be from 5s to 10m")
	case c.timeout <= 0 || c.timeout > time.Hour:
		return errors.New("-timeout: must be more than 0, and 1h at most")
	case c.maxAge < 0 || c.maxAge > 0 && c.maxAge < time.Second || c.maxAge > 1<<30*time.Second:
		return errors.New("-max-age: must be a second or more")
	case c.limit < 0 || c.limit > 100:
		return errors.New("-limit: must be from 1 to 100")
	}
	return nil
}

// channelIDs returns the list in -channels; nil: all channels.
func (c *Command) channelIDs() []string {
	if c.channels == "" {
		return nil
	}
	return strings.Split(c.channels, ",")
}

// worker returns the name of this agent for the server. It stays the same after a restart, so that the server
// gives the next run the work of this one. It differs for an agent on another machine, in another directory
// or with another command: these may run side by side, and must not take work from each other.
func (c *Command) worker() string {
	host, _ := os.Hostname()
	dir, _ := os.Getwd()
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q", host, dir, c.exec, c.channels))
	return "agent-" + hex.EncodeToString(sum[:8])
}
