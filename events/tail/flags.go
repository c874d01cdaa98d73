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

const help = `fabric-guild tail follows your stream for ever: it comes back after every cut, and prints each event once, or
runs a command for it. On a terminal it prints lines to read, into anything else JSON lines {"id","event","data"}.

It ends with 0 when it is told to (SIGINT, SIGTERM, SIGHUP) or nobody reads its output any more, 2 for a wrong flag, 3 where
the token is not accepted or has ended, 4 where something is forbidden, 5 when the command keeps failing, 1 else.

`

// Flags defines the flags of the command.
func (c *Command) Flags(f *flag.FlagSet) {
	f.StringVar(&c.url, "url", "http://127.0.0.1:8080", "`URL` of the server, with its prefix")
	f.StringVar(&c.token, "token", "", "your `token`; better in the environment than on the command line")
	f.StringVar(&c.tokenFile, "token-file", "", "`file` of the token, in place of -token; read before each connection, so that it can be renewed")
	f.StringVar(&c.cursor, "cursor", "", "`cursor` after which to begin; none: now")
	f.StringVar(&c.cursorFile, "cursor-file", "", "`file` that keeps the cursor of the last event that was handled; once it is there it wins over -cursor")
	f.BoolVar(&c.json, "json", false, "JSON lines also on a terminal")
	f.BoolVar(&c.wakeup, "wakeup", false, "only the messages that wake me")
	f.BoolVar(&c.echo, "echo", false, "my own messages too")
	f.StringVar(&c.types, "types", "", "only these `kinds` of events, such as message.created,channel.joined")
	f.StringVar(&c.channels, "channels", "", "only the channels with these `ids`, and my own joins and leaves of any")
	f.StringVar(&c.exec, "exec", "", "shell `command` to run for each event, which it finds on stdin and in FABRIC_* variables; nothing else is printed")
	usage := f.Usage
	f.Usage = func() {
		_, _ = io.WriteString(f.Output(), help)
		usage()
	}
}

// check completes what the flags say, or tells what is wrong with it. No token is in its errors.
func (c *Command) check() error {
	u, err := url.Parse(c.url)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return errors.New("-url is to be like https://chat.example")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return errors.New("-url is to have no user, no query and no fragment")
	case c.token == "" && c.tokenFile == "":
		return errors.New("no token: set FABRIC_BACKEND_GUILD_TOKEN, or name a -token-file")
	}
	c.url = strings.TrimRight(c.url, "/")
	if c.cursor != "" {
		if _, err := events.ParseCursor(c.cursor); err != nil {
			return fmt.Errorf("-cursor: %w", err)
		}
	}
	return nil
}

// readToken is the token as it is now.
func (c *Command) readToken() (string, error) {
	token, from := c.token, "the token"
	if c.tokenFile != "" {
		b, err := os.ReadFile(c.tokenFile)
		if err != nil {
			return "", fmt.Errorf("the token: %w", err)
		}
		token, from = string(b), c.tokenFile
	}
	token = strings.TrimSpace(token)
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("%s: a token is one word of visible characters", from)
	}
	return token, nil
}

// query is what of the stream is asked for.
func (c *Command) query() url.Values {
	q := url.Values{}
	for name, on := range map[string]bool{"wakeup": c.wakeup, "echo": c.echo} {
		if on {
			q.Set(name, "true")
		}
	}
	for name, list := range map[string]string{"types": c.types, "channels": c.channels} {
		if list != "" {
			q.Set(name, list)
		}
	}
	return q
}
