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

// A Program is the real program, built once for a test binary.
type Program struct {
	Path string

	envPrefix string
}

// Main builds the program of this module, runs the tests with dbtest.Main, and then removes the program. The
// program does not get DATABASE_URL or the environment variables that begin with envPrefix. The result is for
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
	p.Path = filepath.Join(dir, "fabric-guild")
	p.envPrefix = envPrefix
	// Unlike "go build", "go run" keeps the linked program for the next test binary. The first argument of cp
	// is the program.
	build := exec.Command("go", "run", "-exec", "cp", "fabric-guild", p.Path)
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "guildtest: build the program: %v\n%s", err, out)
		return 1
	}
	return dbtest.Main(m)
}

// Run runs the program and blocks until it ends. env is added to the environment. After Patience Run kills
// the program, and the exit code is -1. The test fails if the output contains a secret. Only the command
// token may print tokens.
func (p Program) Run(t testing.TB, env []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.Path, args...)
	var out, errs Text
	cmd.Env = p.Environment(env)
	cmd.Stdout = &out
	cmd.Stderr = &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	stdout = out.String()
	stderr = errs.String()
	wantNoSecret(t, "stderr", stderr, Sesame)
	if !slices.Contains(args, "token") {
		wantNoSecret(t, "stdout", stdout) // stdout may have Sesame: some commands print contents
	}
	return stdout, stderr, cmd.ProcessState.ExitCode()
}

// secretLooks matches tokens, which are JWTs, and keys, which are hexadecimal or PEM.
var secretLooks = regexp.MustCompile(
	`\beyJ[\w-]+\.[\w-]+\.[\w-]+|\b[0-9a-f]{64}\b|-----BEGIN [A-Z ]*PRIVATE KEY`,
)

// wantNoSecret checks an output of the program. The output must not contain a token, a key, or one of the
// others.
func wantNoSecret(t testing.TB, where, text string, others ...string) {
	t.Helper()
	for _, secret := range append(others, secretLooks.FindAllString(text, -1)...) {
		if strings.Contains(text, secret) {
			t.Errorf("got %q in %s, want no tokens, keys or contents", secret, where)
		}
	}
}

// Environment returns the environment of this process with env added, but without variables that configure
// the program.
func (p Program) Environment(env []string) []string {
	return append(slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, p.envPrefix) || strings.HasPrefix(v, "DATABASE_URL=")
	}), env...)
}

// A Text collects the output of a process. Any goroutine may read it while the process writes.
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

// String returns the output so far.
func (x *Text) String() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.String()
}

// IsOneLine reports whether an output is exactly one complete line.
func IsOneLine(s string) bool { return strings.Count(s, "\n") == 1 && strings.HasSuffix(s, "\n") }
