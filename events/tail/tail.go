// Package tail is the command tail: it follows a stream for ever, and prints each event, or runs a command for
// it. How far it has come is kept in a file, so that the next run goes on there.
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
)

// A Command is what its flags say.
type Command struct {
	url, token, tokenFile string
	cursor, cursorFile    string
	json, wakeup, echo    bool
	types, channels       string
	exec                  string
}

// A sink is where events go. It is given each of them, and tells by itself what is not for it. An event that
// it returned no error for has been handled.
type sink func(context.Context, event) error

// Run follows the stream until ctx ends or nobody reads stdout any more, which is no error; any other error is
// an *Error. On a terminal it prints for people, into anything else for programs.
func (c *Command) Run(ctx context.Context, stdout, stderr io.Writer) error {
	if err := c.check(); err != nil {
		return &Error{exitUsage, err}
	}
	file, cursor, err := openCursorFile(c.cursorFile, c.exec == "")
	if err != nil {
		return &Error{exitError, err}
	}
	if cursor == "" {
		cursor = c.cursor
	}
	notice := func(text string) { _, _ = fmt.Fprintln(stderr, "fabric-guild:", plain(text)) }
	people := false
	var to sink
	switch {
	case c.exec != "":
		to = (&runner{command: c.exec, url: c.url, wants: c.wants, stdout: stdout, stderr: stderr, notice: notice}).take
	case !c.json && isTerminal(stdout):
		people = true
		to = (&lines{to: stdout, wants: c.wants, zone: time.Local, names: map[string]string{}}).take
	default:
		to = (&objects{to: stdout, wants: c.wants}).take
	}
	if out, ok := stdout.(*os.File); ok && c.exec == "" { // else it is the command's
		defer surviveClosedPipe()()
		var unread context.CancelFunc
		ctx, unread = context.WithCancel(ctx)
		defer unread()
		defer whenUnread(out, unread)()
	}
	client := follow.Client{URL: c.url, Token: c.readToken, Query: c.query(), Snapshot: people, Notice: notice}
	greeted := false
	err = client.Follow(ctx, cursor, func(raw follow.Event) error {
		e := decode(raw)
		switch {
		case e.Name == events.StreamReset:
			notice(fmt.Sprintf("the server cannot go on at this cursor (%s): events may be missing; following from %s", e.Reason, e.Cursor))
		case e.Name == events.StreamReady && !greeted:
			notice(fmt.Sprintf("following %s as %s", c.url, e.UserID))
		}
		greeted = true
		if err := to(ctx, e); err != nil {
			return err
		}
		return file.note(e.ID)
	})
	return outcome(ctx, err, file.close())
}

// wants reports whether an event of the log was asked for. With -wakeup alone those are messages: what the
// server says of members and channels wakes nobody.
func (c *Command) wants(name string) bool {
	return !c.wakeup || c.types != "" || name == string(events.MessageCreated)
}

// isTerminal takes /dev/null for one as well, which does not mind.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// surviveClosedPipe has a write to a pipe that nobody reads fail, where it would end the program: the cursor is
// still to be saved. undo takes it back.
func surviveClosedPipe() (undo func()) {
	gone := make(chan os.Signal, 1)
	signal.Notify(gone, syscall.SIGPIPE)
	return func() { signal.Stop(gone) }
}

// grace is for a write that is under way when the program is told to stop: a reader that takes nothing does not
// hold it up for longer.
const grace = time.Second

// write writes b, or gives up some time after ctx has ended.
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
