package tail

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
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
	// stdinGrace is how long run waits after the command has ended if a background process of the command still
	// holds stdin and does not read it.
	stdinGrace = time.Second
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
			r.notice(fmt.Sprintf("the command failed (%v) for the event %s; the event is not handled yet", err, e.ID))
			return ctx.Err()
		case try == tries:
			return &execError{cursor: e.ID, err: err}
		}
		r.notice(fmt.Sprintf("the command failed (%v) for the event %s; trying again in %v", err, e.ID, pause))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
		pause *= 2
	}
}

// run runs the command once and blocks until it ends. The command has its own process group, so that only
// this process gets Ctrl-C. After the first signal run waits for the command. It passes further signals on to
// the command.
func (r *runner) run(ctx context.Context, e event) error {
	cmd := exec.Command("sh", "-c", r.command)
	cmd.Stdin = bytes.NewReader(e.line())
	cmd.Stdout = r.stdout
	cmd.Stderr = r.stderr
	cmd.Env = append(cmd.Environ(), r.variables(e)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = stdinGrace
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		if errors.Is(err, exec.ErrWaitDelay) {
			err = nil // the command itself succeeded
		}
		ended <- err
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	again := make(chan os.Signal, 1)
	signal.Notify(again, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(again)
	r.notice("waiting for the command to finish; tail passes another signal on to it")
	for {
		select {
		case err := <-ended:
			return err
		case s := <-again:
			_ = syscall.Kill(-cmd.Process.Pid, s.(syscall.Signal)) // fails if the command has just ended
		}
	}
}

// variables returns the environment variables of the command, so that a shell needs no JSON parser. It always
// sets all of them. Otherwise a tail inside a command of another tail would pass on the values of the outer
// event.
func (r *runner) variables(e event) []string {
	wakeup := ""
	if e.AuthorUserID != "" {
		wakeup = strconv.FormatBool(e.Wakeup)
	}
	all := []string{
		"FABRIC_URL=" + r.url,
		"FABRIC_EVENT=" + e.Name,
		"FABRIC_CURSOR=" + e.ID,
		"FABRIC_GUILD_ID=" + e.GuildID,
		"FABRIC_CHANNEL_ID=" + e.ChannelID,
		"FABRIC_X_TYPE=" + e.XType,
		"FABRIC_USER_ID=" + cmp.Or(e.AuthorUserID, e.UserID),
		"FABRIC_MESSAGE_ID=" + e.MessageID,
		"FABRIC_CONTENT=" + e.Content,
		"FABRIC_WAKEUP=" + wakeup,
		"FABRIC_WAKE_REASON=" + e.WakeReason,
	}
	for i, v := range all {
		all[i] = strings.ReplaceAll(v, "\x00", "") // a variable cannot contain NUL
	}
	return all
}
