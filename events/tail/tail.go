// Package tail is the command tail. It follows a stream for ever, and prints each event or runs a command for
// it. It can keep its cursor in a file, so that the next run continues there.
package tail

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"fabric-guild/events"
	"fabric-guild/events/follow"
	"fabric-guild/events/remote"
)

// A Command has the values of the flags.
type Command struct {
	account            remote.Account
	cursor, cursorFile string
	json, wakeup, echo bool
	types, channels    string
	exec               string
}

// A sink handles events. It gets every event, and ignores those that it does not need. The event has been
// handled when the sink returns nil.
type sink func(context.Context, event) error

// Run follows the stream. It blocks until ctx ends or the reader of stdout is gone, and then returns nil. Any
// error is a *remote.Error. On a terminal Run prints for people, otherwise for programs.
func (c *Command) Run(ctx context.Context, stdout, stderr io.Writer) error {
	if err := c.check(); err != nil {
		return remote.Exit(remote.ExitUsage, err)
	}
	file, cursor, err := openCursorFile(c.cursorFile, c.exec == "")
	if err != nil {
		return remote.Exit(remote.ExitError, err)
	}
	if cursor == "" {
		cursor = c.cursor
	}
	notice := func(text string) { _, _ = fmt.Fprintln(stderr, "fabric-guild:", remote.Plain(text)) }
	people := false
	var to sink
	switch {
	case c.exec != "":
		r := &runner{
			command: c.exec,
			url:     c.account.URL,
			wants:   c.wants,
			stdout:  stdout,
			stderr:  stderr,
			notice:  notice,
		}
		to = r.take
	case !c.json && IsTerminal(stdout):
		people = true
		to = (&lines{to: stdout, wants: c.wants, zone: time.Local, names: map[string]string{}}).take
	default:
		to = (&objects{to: stdout, wants: c.wants}).take
	}
	if out, ok := stdout.(*os.File); ok && c.exec == "" { // with -exec, stdout belongs to the command
		defer surviveClosedPipe()()
		var unread context.CancelFunc
		ctx, unread = context.WithCancel(ctx)
		defer unread()
		defer whenUnread(out, unread)()
	}
	client := follow.Client{
		URL:      c.account.URL,
		Token:    c.account.Token,
		Query:    c.query(),
		Snapshot: people, // lines needs the names of the channels
		Notice:   notice,
	}
	greeted := false
	err = client.Follow(ctx, cursor, func(raw follow.Event) error {
		e := decode(raw)
		switch {
		case e.Name == events.StreamReset:
			notice(fmt.Sprintf("the server cannot continue at this cursor (%s): "+
				"events may be missing; following from %s", e.Reason, e.Cursor))
		case e.Name == events.StreamReady && !greeted:
			notice(fmt.Sprintf("following %s as %s", c.account.URL, e.UserID))
		}
		greeted = true
		if err := to(ctx, e); err != nil {
			return err
		}
		return file.note(e.ID)
	})
	return outcome(ctx, err, file.close())
}

// wants reports whether the user wants events of the event log with this name. With -wakeup alone these are
// only messages, because events about members and channels wake nobody.
func (c *Command) wants(name string) bool {
	return !c.wakeup || c.types != "" || name == string(events.MessageCreated)
}

// IsTerminal reports whether w is a terminal. It also returns true for /dev/null, where the format does not
// matter.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// surviveClosedPipe makes a write to a pipe without a reader return an error. Without surviveClosedPipe such
// a write would kill the program before it saves the cursor. undo restores the normal behaviour.
func surviveClosedPipe() (undo func()) {
	gone := make(chan os.Signal, 1)
	signal.Notify(gone, syscall.SIGPIPE)
	return func() { signal.Stop(gone) }
}

// grace is how long a running write may take after ctx has ended. A reader that reads nothing must not keep
// the program from ending.
const grace = time.Second

// write writes b and blocks until then. When ctx ends, write gives up after grace and returns the error of
// ctx.
func write(ctx context.Context, to io.Writer, b []byte) error {
	done := make(chan error, 1)
	go func() {
		_, err := to.Write(b)
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(grace):
		return errors.Join(ctx.Err(), errors.New("nobody reads the output"))
	}
}

// outcome returns the result of the command. err is the error of Follow, saving the error of the cursor file.
// The end of ctx and a reader of stdout that is gone are no errors. Any other error becomes a *remote.Error.
func outcome(ctx context.Context, err, saving error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) || errors.Is(err, syscall.EPIPE) {
		err = nil
	}
	err = errors.Join(err, saving)
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*execError](err); ok {
		return remote.Exit(remote.ExitExec, err)
	}
	return remote.Exit(remote.ExitCode(err), err)
}
