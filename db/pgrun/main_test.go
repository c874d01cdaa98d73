package pgrun

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"fabric-guild/events/ssetest"
)

// helperDir is an environment variable that turns the test binary into a helper
// program. The helper starts the cluster in the named directory, prints its URL,
// and stops the cluster at the end of its standard input.
const helperDir = "PGRUN_TEST_DIR"

// With helperSource, the helper finds no Postgres on the machine and fetches it from this URL. The archive
// must have the digest in helperDigest.
const (
	helperSource = "PGRUN_TEST_SOURCE"
	helperDigest = "PGRUN_TEST_DIGEST"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperDir); dir != "" {
		os.Exit(help(dir))
	}
	flag.Parse()
	if testing.Short() {
		fmt.Println("skipped by -short")
		return
	}
	os.Exit(m.Run())
}

// help is the helper program. It returns the exit code.
func help(dir string) int {
	cfg := Config{Dir: dir, Source: os.Getenv(helperSource)}
	if cfg.Source != "" {
		cfg.places = []string{}
		name, err := releaseName()
		if err != nil {
			fmt.Println("error:", err)
			return 1
		}
		cfg.digests = map[string]string{name: os.Getenv(helperDigest)}
	}
	pg, err := Start(context.Background(), cfg)
	if err != nil {
		fmt.Println("error:", err)
		return 1
	}
	fmt.Println(pg.URL())
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := pg.Stop(context.Background()); err != nil {
		fmt.Println("error:", err)
		return 1
	}
	return 0
}

// helper is a running helper process.
type helper struct {
	cmd   *exec.Cmd
	stdin io.Closer
	line  string // the first line of its output
}

func startHelper(t *testing.T, dir, executable string, attr *syscall.SysProcAttr) *helper {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), executable)
	cmd.Env = append(os.Environ(), helperDir+"="+dir)
	cmd.Dir = "/"
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = attr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("got %q and %v from the helper, want a line", line, err)
	}
	return &helper{cmd: cmd, stdin: stdin, line: strings.TrimSpace(line)}
}

func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// stateDir returns a path for a new state directory. Any user can enter its
// parent, also the user who runs Postgres for root.
func stateDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fabric-pgrun-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "state")
}

func start(t *testing.T, dir string) *Postgres {
	t.Helper()
	return startWith(t, Config{Dir: dir})
}

func startWith(t *testing.T, cfg Config) *Postgres {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	pg, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pg.Stop(context.Background()) })
	return pg
}

func stop(t *testing.T, pg *Postgres) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), ssetest.Patience)
	defer cancel()
	if err := pg.Stop(ctx); err != nil {
		t.Fatal(err)
	}
}

func connect(t *testing.T, connString string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), connString)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// suspend stops the connection's server process with SIGSTOP. resume lets the
// process continue.
func suspend(t *testing.T, conn *pgx.Conn) (resume func()) {
	t.Helper()
	pid := int(conn.PgConn().PID())
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			t.Error(err)
		}
	}
}

func exec1(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func query[T any](t *testing.T, conn *pgx.Conn, sql string) T {
	t.Helper()
	var v T
	if err := conn.QueryRow(t.Context(), sql).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// eventually blocks until condition returns true.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	ssetest.Eventually(t, what, condition)
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("got no error, want one with %q", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("got %q, want it to contain %q", err, part)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("got %q, want one line", err)
	}
}

// syncBuffer is a buffer for a logger. Any goroutine may use it.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
