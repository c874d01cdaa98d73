package guildtest

import (
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A Node is the program at work as a server.
type Node struct {
	t       testing.TB
	program Program
	cmd     *exec.Cmd
	state   string
	root    string // where the server's files are to be seen from here; empty: where they are
	stderr  *Text
	ended   chan struct{}
	secrets []string // tokens that it was given
}

// Start runs a server that logs at the debug level, takes as many changes from a user as they make, and is on
// a port of its own unless args have an -addr. It returns when the server is ready. See Launch for its end.
func (p Program) Start(t testing.TB, state string, args ...string) *Node {
	t.Helper()
	command := p.command(state, args...)
	return p.Launch(t, state, nil, exec.Command(command[0], command[1:]...))
}

func (p Program) command(state string, args ...string) []string {
	if !slices.Contains(args, "-addr") {
		args = append(args, "-addr", "127.0.0.1:0")
	}
	return append([]string{p.Path, "-state", state, "-log-level", "debug", "-rate-limit", "0"}, args...)
}

// Launch runs a command that is the server of this state directory, with env on top of the environment, and
// returns when it is ready. At the end of the test it is stopped if it still runs, and what it has written is
// searched for secrets: each is an error.
func (p Program) Launch(t testing.TB, state string, env []string, cmd *exec.Cmd) *Node {
	t.Helper()
	n := &Node{t: t, program: p, cmd: cmd, state: state, stderr: &Text{}, ended: make(chan struct{})}
	cmd.Env, cmd.Stdout, cmd.Stderr = p.Environment(env), n.stderr, n.stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(n.ended)
		_ = cmd.Wait()
	}()
	t.Cleanup(n.close)
	Eventually(t, "the server is ready", Patience, func() bool { return n.Base() != "" || n.Exited() })
	if n.Exited() {
		t.Fatalf("got an exit at the start: %s", n.stderr)
	}
	return n
}

func (n *Node) close() {
	_ = n.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-n.ended:
	case <-time.After(Patience):
		_ = n.cmd.Process.Kill()
		<-n.ended
		n.t.Error("got a server that ignores SIGTERM, want it stopped")
	}
	log := n.Log()
	wantNoSecret(n.t, "its log", log, append(n.secrets, Sesame)...)
	if n.t.Failed() {
		log, _, _ = strings.Cut(log, dumpBegins)
		n.t.Logf("the server's own words, the last of them:\n%s", log[max(0, len(log)-4000):])
	}
}

// Restart starts a server that has ended once more, with its state directory and at its address, but with no
// other arguments. The tokens of the first must not be in the second's log either.
func (n *Node) Restart() *Node {
	n.t.Helper()
	again := n.program.Start(n.t, n.state, "-addr", n.Addr())
	again.secrets = append(again.secrets, n.secrets...)
	return again
}

// ready is in the greeting or, where the log is JSON, in its line.
var ready = regexp.MustCompile(`(?:fabric-guild is ready on |"msg":"ready","url":")(https?://([^/\s"]+)[^\s"]*)["\n]`)

// Base is the server's URL with its prefix, empty as long as it is not ready. It outlives the server.
func (n *Node) Base() string {
	if m := ready.FindStringSubmatch(n.Log()); m != nil {
		return m[1]
	}
	return ""
}

// Addr is the host and port of a server that was ready once.
func (n *Node) Addr() string { return ready.FindStringSubmatch(n.Log())[2] }

// Log is what the server has written so far.
func (n *Node) Log() string { return n.stderr.String() }

// Pid is the number of the server's process.
func (n *Node) Pid() int { return n.cmd.Process.Pid }

// Signal sends a signal to the server, which must not have ended.
func (n *Node) Signal(s syscall.Signal) {
	n.t.Helper()
	if err := n.cmd.Process.Signal(s); err != nil {
		n.t.Fatal(err)
	}
}

// Stop has the server end in order, and waits for that.
func (n *Node) Stop() {
	n.t.Helper()
	n.Signal(syscall.SIGTERM)
	n.AwaitExit(0)
}

// Kill ends the server on the spot, and waits for that.
func (n *Node) Kill() {
	n.t.Helper()
	n.Signal(syscall.SIGKILL)
	n.AwaitExit(-1)
}

// AwaitReady is AwaitReadiness of a server that is to be ready.
func (n *Node) AwaitReady() {
	n.t.Helper()
	n.AwaitReadiness(Ready)
}

// AwaitReadiness waits until /readyz of the server, which runs, says so; for Recovery at most.
func (n *Node) AwaitReadiness(want string) {
	n.t.Helper()
	Eventually(n.t, "/readyz says "+want, Recovery, func() bool { return n.Readiness() == want })
}

// AwaitLog waits for a line in the log that matches an expression; for Recovery at most.
func (n *Node) AwaitLog(want string) {
	n.t.Helper()
	line := regexp.MustCompile(want)
	Eventually(n.t, "the log says "+want, Recovery, func() bool { return line.MatchString(n.Log()) })
}

// Exited reports whether the server has ended.
func (n *Node) Exited() bool {
	select {
	case <-n.ended:
		return true
	default:
		return false
	}
}

// AwaitExit waits for the server's end. Another exit code than this is an error; -1 is an end by a signal.
func (n *Node) AwaitExit(want int) {
	n.t.Helper()
	Eventually(n.t, "the server ends", Patience, n.Exited)
	if got := n.cmd.ProcessState.ExitCode(); got != want {
		n.t.Errorf("got exit %d, want %d", got, want)
	}
}
