package guildtest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"fabric-guild/db/dbtest"
)

// A Program is the real one, built for the tests of a binary.
type Program struct {
	Path string

	envPrefix string
}

// Main builds the program of this module, runs the tests with dbtest.Main, and then removes the program. What
// the environment has under envPrefix, or for a database, the program does not get to see. The result is for
// os.Exit:
//
//	func TestMain(m *testing.M) { os.Exit(program.Main(m, envPrefix)) }
func (p *Program) Main(m *testing.M, envPrefix string) int {
	dir, err := os.MkdirTemp("", "fabric-guild-program-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "guildtest:", err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	p.Path, p.envPrefix = filepath.Join(dir, "fabric-guild"), envPrefix
	if out, err := exec.Command("go", "build", "-o", p.Path, "fabric-guild").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "guildtest: build the program: %v\n%s", err, out)
		return 1
	}
	return dbtest.Main(m)
}

// Run runs the program to its end, with env on top of the environment. After Patience it is killed, which is
// the code -1. A secret in what it writes is an error, but for the tokens that it is asked for.
func (p Program) Run(t testing.TB, env []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.Path, args...)
	var out, errs Text
	cmd.Env, cmd.Stdout, cmd.Stderr = p.Environment(env), &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	stdout, stderr, code = out.String(), errs.String(), cmd.ProcessState.ExitCode()
	wantNoSecret(t, "stderr", stderr, Sesame)
	if !slices.Contains(args, "token") {
		wantNoSecret(t, "stdout", stdout) // contents are what some commands are for
	}
	return stdout, stderr, code
}

// Tokens of ours are JWTs, and keys are hexadecimal.
var secretLooks = regexp.MustCompile(`\beyJ[\w-]+\.[\w-]+\.[\w-]+|\b[0-9a-f]{64}\b|-----BEGIN [A-Z ]*PRIVATE KEY`)

// wantNoSecret is what every output of the program goes through: no token or key in it, and none of these.
func wantNoSecret(t testing.TB, where, text string, others ...string) {
	t.Helper()
	for _, secret := range append(others, secretLooks.FindAllString(text, -1)...) {
		if strings.Contains(text, secret) {
			t.Errorf("got %q in %s, want neither tokens, keys nor contents", secret, where)
		}
	}
}

// Environment is ours without what would configure the program, and env on top of it.
func (p Program) Environment(env []string) []string {
	return append(slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, p.envPrefix) || strings.HasPrefix(v, "DATABASE_URL=")
	}), env...)
}

// A Text collects what a process writes. It may be read meanwhile.
type Text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write never fails.
func (x *Text) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.Write(p)
}

// String is what has been written so far.
func (x *Text) String() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.String()
}

// IsOneLine reports whether an output is a single, whole line.
func IsOneLine(s string) bool { return strings.Count(s, "\n") == 1 && strings.HasSuffix(s, "\n") }
