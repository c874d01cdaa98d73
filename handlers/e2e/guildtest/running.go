package guildtest

import (
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
)

// A Running is a process of a client: the program with another command than serve, or another program.
type Running struct {
	Cmd      *exec.Cmd
	Out, Err *Text // stdout, unless Cmd has another, and stderr

	t     testing.TB
	ended chan struct{}
}

// Client prepares a process. env is added to the environment.
func (p Program) Client(t testing.TB, env []string, name string, args ...string) *Running {
	r := &Running{t: t, Out: &Text{}, Err: &Text{}, ended: make(chan struct{})}
	r.Cmd = exec.CommandContext(t.Context(), name, args...)
	r.Cmd.Env = p.Environment(env)
	r.Cmd.Stdout = r.Out
	r.Cmd.Stderr = r.Err
	return r
}

// Start starts the process. At the end of the test the process is killed. The test fails if the secret is in
// its output.
func (r *Running) Start(secret string) {
	r.t.Helper()
	if signal.Ignored(syscall.SIGHUP) { // the suite runs under nohup; the process would ignore it too
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
	if err := r.Cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	go func() {
		defer close(r.ended)
		_ = r.Cmd.Wait()
	}()
	r.t.Cleanup(func() {
		_ = r.Cmd.Process.Kill()
		<-r.ended
		if strings.Contains(r.Out.String()+r.Err.String(), secret) {
			r.t.Error("the output contains the token")
		}
		if r.t.Failed() {
			r.t.Logf("stderr of %v:\n%s", r.Cmd.Args[1:], r.Err)
		}
	})
}

// HasEnded reports whether the process has ended.
func (r *Running) HasEnded() bool {
	select {
	case <-r.ended:
		return true
	default:
		return false
	}
}

// Await blocks until a text is on stderr.
func (r *Running) Await(text string) {
	r.t.Helper()
	Eventually(r.t, "the client writes "+text, Patience,
		func() bool { return strings.Contains(r.Err.String(), text) })
}

// AwaitLines blocks until there are n lines on stdout.
func (r *Running) AwaitLines(n int) {
	r.t.Helper()
	Eventually(r.t, "lines on stdout", Patience,
		func() bool { return strings.Count(r.Out.String(), "\n") >= n })
}

// Signal sends a signal to the process.
func (r *Running) Signal(s syscall.Signal) {
	r.t.Helper()
	if err := r.Cmd.Process.Signal(s); err != nil {
		r.t.Error(err)
	}
}

// WantExit blocks until the process ends, and checks the exit code. -1 means that a signal killed the
// process.
func (r *Running) WantExit(code int) {
	r.t.Helper()
	Eventually(r.t, "the client ends", Patience, r.HasEnded)
	if got := r.Cmd.ProcessState.ExitCode(); got != code {
		r.t.Errorf("got exit %d, want %d: %s", got, code, r.Err)
	}
}

// Stop ends the process with SIGTERM and wants the exit code 0.
func (r *Running) Stop() {
	r.t.Helper()
	r.Signal(syscall.SIGTERM)
	r.WantExit(0)
}

// Kill kills the process with SIGKILL and blocks until it has ended. What it has started lives on.
func (r *Running) Kill() {
	r.t.Helper()
	r.Signal(syscall.SIGKILL)
	r.WantExit(-1)
}
