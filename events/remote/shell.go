package remote

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// outputGrace is how long Wait waits after a command has ended if a background process of the command still
// holds its stdin, stdout or stderr.
const outputGrace = time.Second

// A Shell is a shell command with its own process group, so that only this process gets Ctrl-C.
type Shell struct{ *exec.Cmd }

// NewShell prepares a command, which gets stdin and the variables.
func NewShell(command string, stdin []byte, v Variables) Shell {
	cmd := exec.Command("sh", "-c", command)
	cmd.Stdin = bytes.NewReader(stdin)
	cmd.Env = append(cmd.Environ(), v.environ()...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = outputGrace
	return Shell{cmd}
}

// Wait blocks until the started command has ended. It returns nil if the exit code is 0.
func (s Shell) Wait() error {
	err := s.Cmd.Wait()
	if errors.Is(err, exec.ErrWaitDelay) {
		return nil // the command itself succeeded
	}
	return err
}

// Kill sends a signal to the process group of the started command. It does nothing if the group has ended.
func (s Shell) Kill(with syscall.Signal) { _ = syscall.Kill(-s.Process.Pid, with) }

// End sends SIGTERM to the process group of the started command, and SIGKILL if the group has not ended after
// grace, or when ctx ends. It blocks until then. Another goroutine must Wait.
func (s Shell) End(ctx context.Context, grace time.Duration) {
	s.Kill(syscall.SIGTERM)
	over := time.After(grace)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for syscall.Kill(-s.Process.Pid, 0) == nil {
		select {
		case <-tick.C:
		case <-over:
			s.Kill(syscall.SIGKILL)
			return
		case <-ctx.Done():
			s.Kill(syscall.SIGKILL)
			return
		}
	}
}

// Variables are the environment variables of a command, so that a shell needs no JSON parser.
type Variables struct {
	URL, Event, Cursor, GuildID, ChannelID, XType, UserID, MessageID, Content, Wakeup, WakeReason,
	WakeID string
}

// environ returns all variables, also the empty ones. Otherwise a command inside of another command would get
// the values of the outer one.
func (v Variables) environ() []string {
	all := []string{
		"FABRIC_URL=" + v.URL,
		"FABRIC_EVENT=" + v.Event,
		"FABRIC_CURSOR=" + v.Cursor,
		"FABRIC_GUILD_ID=" + v.GuildID,
		"FABRIC_CHANNEL_ID=" + v.ChannelID,
		"FABRIC_X_TYPE=" + v.XType,
		"FABRIC_USER_ID=" + v.UserID,
		"FABRIC_MESSAGE_ID=" + v.MessageID,
		"FABRIC_CONTENT=" + v.Content,
		"FABRIC_WAKEUP=" + v.Wakeup,
		"FABRIC_WAKE_REASON=" + v.WakeReason,
		"FABRIC_WAKE_ID=" + v.WakeID,
	}
	for i, s := range all {
		all[i] = strings.ReplaceAll(s, "\x00", "") // a variable cannot contain NUL
	}
	return all
}
