package pgrun

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func TestKeepsDataOverRestarts(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"plain", "with spaces and 'quotes'", strings.Repeat("long", 30)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(stateDir(t), name)
			pg := start(t, dir)
			conn := connect(t, pg.URL())
			exec1(t, conn, `CREATE TABLE kept (n int)`)
			exec1(t, conn, `INSERT INTO kept VALUES (42)`)
			stop(t, pg)

			pg = start(t, dir)
			if got, want := query[int](t, connect(t, pg.URL()), `SELECT n FROM kept`), 42; got != want {
				t.Errorf("got %d after a restart, want %d", got, want)
			}
		})
	}
}

func TestClusterIsPrivateAndDurable(t *testing.T) {
	t.Parallel()
	pg := startWith(t, Config{Dir: stateDir(t), Settings: map[string]string{"max_connections": "37"}})
	conn := connect(t, pg.URL())
	for setting, want := range map[string]string{
		"listen_addresses": "",
		"fsync":            "on",
		"full_page_writes": "on",
		"data_checksums":   "on",
		"server_encoding":  "UTF8",
		"lc_collate":       "C",
		"TimeZone":         "UTC",
		"max_connections":  "37",
	} {
		if got := query[string](t, conn, `SELECT current_setting('`+setting+`')`); got != want {
			t.Errorf("got %s = %q, want %q", setting, got, want)
		}
	}
	if query[bool](t, conn, `SELECT rolsuper FROM pg_roles WHERE rolname = current_user`) {
		t.Error("got a superuser, want a plain role")
	}
	group, err := syscall.Getpgid(pg.Pid())
	if err != nil {
		t.Fatal(err)
	}
	if group == syscall.Getpgrp() {
		t.Error("the server is in our process group, so Ctrl-C would reach it; want its own group")
	}
	for _, path := range []string{pg.sockets, pg.cluster.home, pg.cluster.data} {
		fi, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := fi.Mode().Perm(); got != 0o700 {
			t.Errorf("got mode %o of %s, want 700", got, path)
		}
	}
}

func TestServerDoesNotGetTheEnvironment(t *testing.T) {
	for name, value := range map[string]string{
		"PGDATA":            "/nowhere",
		"PGPORT":            "1",
		"PGHOST":            "nowhere",
		"PGDATESTYLE":       "German",
		"PGSSLMODE":         "verify-full",
		"PGRUN_TEST_SECRET": "hush",
	} {
		t.Setenv(name, value)
	}
	pg := start(t, stateDir(t))
	if got, want := query[string](t, connect(t, pg.URL()), `SHOW DateStyle`), "ISO, MDY"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	environ, err := os.ReadFile("/proc/" + strconv.Itoa(pg.Pid()) + "/environ")
	if err != nil {
		t.Skip(err)
	}
	if strings.Contains(string(environ), "hush") {
		t.Error("the server's environment contains a variable of ours")
	}
}

// If the driver cannot parse a PG* variable, Start returns an error at once and names the cause.
func TestInvalidPGVariableIsAnError(t *testing.T) {
	t.Setenv("PGCONNECT_TIMEOUT", "soon")
	_, err := Start(t.Context(), Config{Dir: stateDir(t), Logger: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "PG* variables") {
		t.Errorf("got %v, want an error that names the PG* variables", err)
	}
}

func TestPgxAndPsqlReadTheURL(t *testing.T) {
	t.Parallel()
	p := &Postgres{sockets: "/tmp/a b+c&d=%20é"}
	cfg, err := pgx.ParseConfig(p.URLFor("some one", "data base"))
	if err != nil {
		t.Fatal(err)
	}
	got := []string{cfg.Host, cfg.User, cfg.Database}
	for i, want := range []string{p.sockets, "some one", "data base"} {
		if got[i] != want {
			t.Errorf("got %q, want %q", got[i], want)
		}
	}

	base := stateDir(t) + " a+b"
	if err := os.MkdirAll(base, 0o711); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	pg := startWith(t, Config{Dir: filepath.Join(base, "state"), RunDir: base})
	connect(t, pg.URL())
	psql := pg.cluster.binaries.path("psql")
	if !exists(psql) {
		t.Skip("no psql")
	}
	cmd := exec.CommandContext(t.Context(), psql, "-X", "-w", "-d", pg.URL(), "-Atc", "SELECT 'fine'")
	cmd.Dir = "/" // this process may stand in a directory that psql cannot enter
	out, err := cmd.CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "fine" {
		t.Errorf("got %q and %v from psql, want fine", out, err)
	}
}

func TestStopIsIdempotentAndFreesEverything(t *testing.T) {
	pg := start(t, stateDir(t)) // not parallel: the test looks at all goroutines
	if err := pg.Err(); err != nil {
		t.Errorf("got %v while running, want nil", err)
	}
	results := make(chan error, 3)
	for range cap(results) {
		go func() { results <- pg.Stop(context.Background()) }()
	}
	for range cap(results) {
		if err := <-results; err != nil {
			t.Errorf("got %v, want nil", err)
		}
	}
	stop(t, pg)
	select {
	case <-pg.Done():
	default:
		t.Error("Done is open after Stop, want it closed")
	}
	if err := pg.Err(); err != nil {
		t.Errorf("got %v after Stop, want nil", err)
	}
	if exists(pg.sockets) {
		t.Errorf("%s still exists after Stop, want it removed", pg.sockets)
	}
	if got := pg.Pid(); got != 0 {
		t.Errorf("got pid %d after Stop, want 0", got)
	}
	eventually(t, "no goroutine of pgrun is left", func() bool {
		buf := make([]byte, 1<<20)
		return !strings.Contains(string(buf[:runtime.Stack(buf, true)]), "pgrun.(*")
	})
}

func TestStopAtOnceWhenContextEnds(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	pg := start(t, dir)
	conn := connect(t, pg.URL())
	exec1(t, conn, `CREATE TABLE kept AS SELECT 1`)
	suspend(t, conn) // an orderly shutdown would wait for this backend for ever
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := pg.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
	pg = start(t, dir)
	query[int](t, connect(t, pg.URL()), `SELECT * FROM kept`)
}

func TestSecondInstanceIsRefused(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	pg := start(t, dir)
	_, err := Start(t.Context(), Config{Dir: dir})
	wantError(t, err, dir, "in use by", "process")

	h := startHelper(t, dir, self(t), nil)
	if want := "in use by"; !strings.Contains(h.line, want) || !strings.Contains(h.line, dir) {
		t.Errorf("got %q from a second process, want %q and %q", h.line, want, dir)
	}
	_ = h.cmd.Wait()
	if err := connect(t, pg.URL()).Ping(t.Context()); err != nil {
		t.Errorf("the first instance answers %v, want it to work as before", err)
	}
}
