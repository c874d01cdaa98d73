package tail

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"fabric-guild/events/remote"
)

// A runner runs a shell command for each event, one at a time. If the command fails, the runner runs it again
// for the same event, with a backoff that doubles. It never skips an event.
type runner struct {
	command        string
	url            string // of the server
	wants          func(name string) bool
	stdout, stderr io.Writer // the command's
	notice         func(string)
}

const (
	tries      = 4
	firstPause = time.Second
)

// An execError means that the command failed at every attempt.
type execError struct {
	cursor string // of the event
	err    error  // of the last attempt
}

func (e *execError) Error() string {
	return fmt.Sprintf("the command failed %d times for the event %s: %v; the event is not handled yet",
		tries, e.cursor, e.err)
}

// take is a sink. It blocks until the command has succeeded for the event, or has failed at every attempt.
// When ctx ends, take lets a running command finish, and starts no other. If take returns the error of ctx,
// the event has not been handled.
func (r *runner) take(ctx context.Context, e event) error {
	if !e.ofLog() || !r.wants(e.Name) {
		return nil
	}
	pause := firstPause
	for try := 1; ; try++ {
		err := r.run(ctx, e)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			r.notice(fmt.Sprintf("the command failed (%v) for the event %s; the event is not handled yet",
				err, e.ID))
			return ctx.Err()
		case try == tries:
			return &execError{cursor: e.ID, err: err}
		}
		r.notice(fmt.Sprintf("the command failed (%v) for the event %s; trying again in %v", err,
			e.ID, pause))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
		pause *= 2
	}
}

// run runs the command once and blocks until it ends. After the first signal run waits for the command. It
// passes further signals on to the command.
func (r *runner) run(ctx context.Context, e event) error {
	cmd := remote.NewShell(r.command, e.line(), r.variables(e))
	cmd.Stdout = r.stdout
	cmd.Stderr = r.stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	again := make(chan os.Signal, 1)
	signal.Notify(again, remote.EndSignals()...)
	defer signal.Stop(again)
	r.notice("waiting for the command to finish; tail passes another signal on to it")
	for {
		select {
		case err := <-ended:
			return err
		case s := <-again:
			cmd.Kill(s.(syscall.Signal))
		}
	}
}

// variables returns the fields of the event.
func (r *runner) variables(e event) remote.Variables {
	v := remote.Variables{
		URL: r.url, Event: e.Name, Cursor: e.ID, GuildID: e.GuildID, ChannelID: e.ChannelID, XType: e.XType,
		UserID: cmp.Or(e.AuthorUserID, e.UserID), MessageID: e.MessageID, Content: e.Content,
		WakeReason: e.WakeReason,
	}
	if e.AuthorUserID != "" {
		v.Wakeup = strconv.FormatBool(e.Wakeup)
	}
	return v
}
