package dbtest_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"fabric-guild/db/dbtest"
	"fabric-guild/events/ssetest"
)

// asChild is an environment variable. It has the name of the test that the test
// binary runs in a child process.
const asChild = "DBTEST_CHILD"

func TestMain(m *testing.M) { os.Exit(dbtest.Main(m)) }

func TestDatabasesAreSeparateAndMigrated(t *testing.T) {
	t.Parallel()
	databases := 20
	if testing.Short() {
		databases = 3
	}
	for n := range databases {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			conn := dbtest.Connect(t, dbtest.New(t))
			var migrated bool
			const query = `SELECT to_regclass('goose_db_version') IS NOT NULL`
			if err := conn.QueryRow(t.Context(), query).Scan(&migrated); err != nil {
				t.Fatal(err)
			}
			if !migrated {
				t.Error("got no table of migrations, want one")
			}
			if _, err := conn.Exec(t.Context(), `CREATE TABLE mine (n int)`); err != nil {
				t.Errorf("got %v, want that no other test has made this table", err)
			}
		})
	}
}

func TestDatabaseIsDroppedWithItsConnections(t *testing.T) {
	t.Parallel()
	var url string
	var conn *pgx.Conn
	t.Run("user", func(t *testing.T) {
		url = dbtest.New(t)
		var err error
		conn, err = pgx.Connect(t.Context(), url) // the test does not close it
		if err != nil {
			t.Fatal(err)
		}
	})
	if err := conn.Ping(t.Context()); err == nil {
		t.Error("the connection still works, want it ended with its database")
	}
	if _, err := pgx.Connect(t.Context(), url); err == nil || !strings.Contains(err.Error(), "3D000") {
		t.Errorf("got %v, want the error that the database does not exist", err)
	}
}

func TestClusterOfOneTestSurvivesAKill(t *testing.T) {
	t.Parallel()
	pg := dbtest.NewCluster(t)
	pool, err := pgxpool.New(t.Context(), pg.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	before := pg.Pid()
	if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pool recovers", func() bool {
		_, err := pool.Exec(t.Context(), `SELECT FROM goose_db_version`)
		return err == nil && pg.Pid() != before && pg.Pid() != 0
	})
}

func TestFailedTestKeepsItsDatabase(t *testing.T) {
	dbtest.Long(t) // TestDatabaseIsDroppedWithItsConnections is fast
	if os.Getenv(asChild) == t.Name() {
		conn := dbtest.Connect(t, dbtest.New(t))
		if _, err := conn.Exec(t.Context(), `CREATE TABLE proof AS SELECT 42`); err != nil {
			t.Fatal(err)
		}
		t.Fatal("on purpose")
	}
	t.Parallel()
	out, err := child(t).CombinedOutput()
	if err == nil {
		t.Fatalf("got success, want a failure: %s", out)
	}
	match := regexp.MustCompile(`to look at it: (.*)\n`).FindSubmatch(out)
	if match == nil {
		t.Fatalf("got no command in %s", out)
	}
	command := string(match[1])
	dir := regexp.MustCompile(`/[\w/]+/fabric-dbtest-\d+`).FindString(command)
	if dir == "" {
		t.Fatalf("got no directory in %s", command)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	dbtest.NewCluster(t) // its clean-up must not remove the kept directory

	shell := exec.CommandContext(t.Context(), "sh", "-c", command+` -Atc 'TABLE proof'`)
	shell.Dir = "/"
	// The output goes to a file, because the server that the command starts would keep a pipe open.
	log, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	shell.Stdout = log
	shell.Stderr = log
	err = shell.Run()
	got, _ := os.ReadFile(log.Name())
	if err != nil || !strings.HasSuffix(strings.TrimSpace(string(got)), "\n42") {
		t.Errorf("got %s and %v, want 42 from: %s", got, err, command)
	}
	start, _, _ := strings.Cut(command, " && ")
	stop := strings.Replace(start, " start", " stop", 1)
	if err := exec.CommandContext(t.Context(), "sh", "-c", stop).Run(); err != nil {
		t.Error(err)
	}
}

func TestNextClusterRemovesTheDirectoryOfAKilledBinary(t *testing.T) {
	dbtest.Long(t) // TestClusterOfOneTestSurvivesAKill is fast
	if os.Getenv(asChild) == t.Name() {
		fmt.Printf("url: %s\n", dbtest.New(t))
		_, _ = io.Copy(io.Discard, os.Stdin)
		return
	}
	t.Parallel()
	cmd := child(t)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stdin.Close() }()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var url string
	if _, err := fmt.Fscanf(stdout, "url: %s\n", &url); err != nil {
		t.Fatal(err)
	}
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(cfg.Host)
	dbtest.NewCluster(t)
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("got %v, want that the directory of a running test binary is kept", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	eventually(t, "a new cluster removes the directory of the killed binary", func() bool {
		dbtest.NewCluster(t)
		_, err := os.Stat(dir)
		return os.IsNotExist(err)
	})
}

// child prepares a command that runs only this test in another process.
func child(t *testing.T) *exec.Cmd {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), asChild+"="+t.Name())
	return cmd
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	ssetest.Eventually(t, what, condition)
}
