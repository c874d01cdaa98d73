package tail

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"fabric-guild/events"
)

const help = `fabric-guild tail follows your stream for ever. It reconnects after every cut. It prints each
event once, or runs a command for it. On a terminal it prints lines for people, otherwise JSON lines
{"id","event","data"}.

Exit codes:
  0  a signal (SIGINT, SIGTERM, SIGHUP) ended it, or the reader of its output is gone
  2  a flag is wrong
  3  the server does not accept the token, or the token has ended
  4  the server does not allow it
  5  the command failed several times in a row for the same event
  1  any other error

`

// Flags defines the flags of the command.
func (c *Command) Flags(f *flag.FlagSet) {
	f.StringVar(&c.url, "url", "http://127.0.0.1:8080", "`URL` of the server, with its prefix")
	f.StringVar(&c.token, "token", "", "your `token`; safer in the environment than on the command line")
	f.StringVar(&c.tokenFile, "token-file", "",
		"`file` with the token, instead of -token; tail reads it before each connection, "+
			"so you can renew the token")
	f.StringVar(&c.cursor, "cursor", "", "`cursor` after which to begin (default: now)")
	f.StringVar(&c.cursorFile, "cursor-file", "",
		"`file` in which tail keeps the cursor of the last handled event; a cursor in the file overrides -cursor")
	f.BoolVar(&c.json, "json", false, "print JSON lines on a terminal too")
	f.BoolVar(&c.wakeup, "wakeup", false, "only messages that wake me")
	f.BoolVar(&c.echo, "echo", false, "my own messages too")
	f.StringVar(&c.types, "types", "", "only these `kinds` of events, such as message.created,channel.joined")
	f.StringVar(&c.channels, "channels", "",
		"only the channels with these `ids`; my own joins and leaves still come from all channels")
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
	u, err := url.Parse(c.url)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return errors.New("-url: must be a URL like https://chat.example")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return errors.New("-url: must have no user, no query and no fragment")
	case c.token == "" && c.tokenFile == "":
		return errors.New("no token: set FABRIC_BACKEND_GUILD_TOKEN or pass -token-file")
	}
	c.url = strings.TrimRight(c.url, "/")
	if c.cursor != "" {
		if _, err := events.ParseCursor(c.cursor); err != nil {
			return fmt.Errorf("-cursor: %w", err)
		}
	}
	return nil
}

// readToken returns the current token. Its errors never contain the token.
func (c *Command) readToken() (string, error) {
	token := c.token
	from := "the token"
	if c.tokenFile != "" {
		b, err := os.ReadFile(c.tokenFile)
		if err != nil {
			return "", fmt.Errorf("the token: %w", err)
		}
		token = string(b)
		from = c.tokenFile
	}
	token = strings.TrimSpace(token)
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("%s: a token must be one word of visible ASCII characters", from)
	}
	return token, nil
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
