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

// A runner runs a shell command for each event, one at a time. One that fails is run again for the same event,
// after a pause that doubles; no event is left out.
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
	// stdinGrace is for what a command started in the background that holds its stdin and does not read it.
	stdinGrace = time.Second
)

// An execError says that the command failed each time.
type execError struct {
	cursor string // of its event
	err    error  // of the last time
}

func (e *execError) Error() string {
	return fmt.Sprintf("the command failed %d times for the event %s: %v; it is still to be handled", tries, e.cursor, e.err)
}

// take lets a command that runs when ctx ends finish, and starts none then: an event that it returns ctx's
// error for has not been handled.
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
			r.notice(fmt.Sprintf("the command failed (%v) for the event %s, which is still to be handled", err, e.ID))
			return ctx.Err()
		case try == tries:
			return &execError{e.ID, err}
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

// run runs the command once. It has a process group of its own, so that Ctrl-C is for us alone: the first
// signal waits for it, another is passed on to it.
func (r *runner) run(ctx context.Context, e event) error {
	cmd := exec.Command("sh", "-c", r.command)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(e.line()), r.stdout, r.stderr
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
			err = nil // it succeeded
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
	r.notice("waiting for the command to finish; another signal is passed on to it")
	for {
		select {
		case err := <-ended:
			return err
		case s := <-again:
			_ = syscall.Kill(-cmd.Process.Pid, s.(syscall.Signal)) // it may just have ended
		}
	}
}

// variables are what a shell can do without a JSON parser. All are set always: those of an outer command are
// not this one's.
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
		all[i] = strings.ReplaceAll(v, "\x00", "") // which no variable can have
	}
	return all
}
