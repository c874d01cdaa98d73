package tail

import (
	"flag"
	"fmt"
	"io"
	"net/url"

	"fabric-guild/events"
)

const help = `fabric-guild tail follows your stream until you stop it. It reconnects after every cut.
It prints each event once, or runs a command for it. On a terminal it prints lines for people. Otherwise it
prints JSON lines {"id","event","data"}.

Exit codes:
  0  a signal (SIGINT, SIGTERM, SIGHUP) ended it, or nobody reads its output any more
  1  any other error
  2  a flag is wrong, or the server does not understand it
  3  the server does not accept the token, or the token has ended
  4  the server does not allow it
  5  the command failed four times in a row for the same event

`

// Flags defines the flags of the command.
func (c *Command) Flags(f *flag.FlagSet) {
	c.account.Flags(f)
	f.StringVar(&c.cursor, "cursor", "", "`cursor` after which to begin (default: now)")
	f.StringVar(&c.cursorFile, "cursor-file", "",
		"`file` in which tail keeps the cursor of the last handled event; a cursor in the file "+
			"overrides -cursor")
	f.BoolVar(&c.json, "json", false, "print JSON lines on a terminal too")
	f.BoolVar(&c.wakeup, "wakeup", false, "only messages that wake you, and no other events unless "+
		"-types names some")
	f.BoolVar(&c.echo, "echo", false, "your own messages too")
	f.StringVar(&c.types, "types", "", "only these `kinds` of events, separated by commas, such as "+
		"message.created,channel.joined")
	f.StringVar(&c.channels, "channels", "",
		"only the channels with these `ids`; your own joins and leaves still come from all channels")
	f.StringVar(&c.exec, "exec", "",
		"shell `command` to run for each event; it gets the event on stdin and in FABRIC_* variables, "+
			"and tail prints no events")
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
	if c.cursor != "" {
		if _, err := events.ParseCursor(c.cursor); err != nil {
			return fmt.Errorf("-cursor: %w", err)
		}
	}
	return nil
}

// query returns the parameters of the stream.
func (c *Command) query() url.Values {
	q := url.Values{}
	for name, on := range map[string]bool{"wakeup": c.wakeup, "echo": c.echo} {
		if on {
			q.Set(name, "true")
		}
	}
	for name, value := range map[string]string{"types": c.types, "channels": c.channels} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return q
}
