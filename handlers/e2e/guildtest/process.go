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

// A Node is the program running as a server.
type Node struct {
	t       testing.TB
	program Program
	cmd     *exec.Cmd
	state   string
	root    string // root of the server's file system, as this process sees it; empty: the same root
	stderr  *Text
	ended   chan struct{}
	secrets []string // tokens made for the server
}

// Start starts a server with the log level debug and without a rate limit. The server gets a free port unless
// args have -addr. Start blocks until the server is ready. Launch says what happens at the end of the test.
func (p Program) Start(t testing.TB, state string, args ...string) *Node {
	t.Helper()
	command := p.command(state, args...)
	return p.Launch(t, state, nil, exec.Command(command[0], command[1:]...))
}

// command returns the command line of a server.
func (p Program) command(state string, args ...string) []string {
	if !slices.Contains(args, "-addr") {
		args = append(args, "-addr", "127.0.0.1:0")
	}
	return append([]string{p.Path, "-state", state, "-log-level", "debug", "-rate-limit", "0"}, args...)
}

// Launch starts a command that is the server of this state directory, and blocks until the server is ready.
// env is added to the environment. At the end of the test the server is stopped if it still runs. The test
// fails if the server's output contains a secret.
func (p Program) Launch(t testing.TB, state string, env []string, cmd *exec.Cmd) *Node {
	t.Helper()
	n := &Node{t: t, program: p, cmd: cmd, state: state, stderr: &Text{}, ended: make(chan struct{})}
	cmd.Env = p.Environment(env)
	cmd.Stdout = n.stderr
	cmd.Stderr = n.stderr
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
		t.Fatalf("the server ended at the start: %s", n.stderr)
	}
	return n
}

// close stops the server and checks its log.
func (n *Node) close() {
	_ = n.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-n.ended:
	case <-time.After(Patience):
		_ = n.cmd.Process.Kill()
		<-n.ended
		n.t.Error("the server ignored SIGTERM, want it to stop")
	}
	log := n.Log()
	wantNoSecret(n.t, "the server's log", log, append(n.secrets, Sesame)...)
	if n.t.Failed() {
		log, _, _ = strings.Cut(log, dumpBegins)
		n.t.Logf("end of the server's log:\n%s", log[max(0, len(log)-4000):])
	}
}

// Restart starts a server that has ended again, with the same state directory and address, but without its
// other arguments. The log of the new server must not contain the tokens of the old one.
func (n *Node) Restart() *Node {
	n.t.Helper()
	again := n.program.Start(n.t, n.state, "-addr", n.Addr())
	again.secrets = append(again.secrets, n.secrets...)
	return again
}

// ready matches the server's URL in the greeting, or in a line of a JSON log.
var ready = regexp.MustCompile(
	`(?:fabric-guild is ready on |"msg":"ready","url":")(https?://([^/\s"]+)[^\s"]*)["\n]`,
)

// Base returns the server's URL with its prefix. It returns an empty string until the server is ready for the
// first time. It still returns the URL after the server has ended.
func (n *Node) Base() string {
	if m := ready.FindStringSubmatch(n.Log()); m != nil {
		return m[1]
	}
	return ""
}

// Addr returns the host and port of the server. The server must have been ready once.
func (n *Node) Addr() string { return ready.FindStringSubmatch(n.Log())[2] }

// Log returns the server's output so far.
func (n *Node) Log() string { return n.stderr.String() }

// Pid returns the server's process id.
func (n *Node) Pid() int { return n.cmd.Process.Pid }

// Signal sends a signal to the server, which must not have ended.
func (n *Node) Signal(s syscall.Signal) {
	n.t.Helper()
	if err := n.cmd.Process.Signal(s); err != nil {
		n.t.Fatal(err)
	}
}

// Stop stops the server with SIGTERM, blocks until it has ended, and wants the exit code 0.
func (n *Node) Stop() {
	n.t.Helper()
	n.Signal(syscall.SIGTERM)
	n.AwaitExit(0)
}

// Kill kills the server and blocks until it has ended.
func (n *Node) Kill() {
	n.t.Helper()
	n.Signal(syscall.SIGKILL)
	n.AwaitExit(-1)
}

// AwaitReady blocks until the server is ready, at most for Recovery.
func (n *Node) AwaitReady() {
	n.t.Helper()
	n.AwaitReadiness(Ready)
}

// AwaitReadiness blocks until /readyz answers want, at most for Recovery. The server must run.
func (n *Node) AwaitReadiness(want string) {
	n.t.Helper()
	Eventually(n.t, "/readyz says "+want, Recovery, func() bool { return n.Readiness() == want })
}

// AwaitLog blocks until the log matches a regular expression, at most for Recovery.
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

// AwaitExit blocks until the server ends. The test fails if the exit code is not want. -1 means that a signal
// ended the server.
func (n *Node) AwaitExit(want int) {
	n.t.Helper()
	Eventually(n.t, "the server ends", Patience, n.Exited)
	if got := n.cmd.ProcessState.ExitCode(); got != want {
		n.t.Errorf("got exit %d, want %d", got, want)
	}
}
