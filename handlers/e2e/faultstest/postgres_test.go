package faultstest

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"fabric-guild/db/dbtest"
	"fabric-guild/db/pgrun"
	"fabric-guild/handlers/e2e/guildtest"
)

// cannotRead matches the beginning of the log line of a server that cannot read the event log.
const cannotRead = `level=ERROR msg="event log read failed; streams are paused until it succeeds" ` +
	`error="the database is unavailable: `

// onCluster starts a Postgres, and a server that uses it.
func onCluster(t *testing.T, settings ...string) (*pgrun.Postgres, *guildtest.Node) {
	t.Helper()
	pg := dbtest.NewCluster(t, settings...)
	return pg, program.Start(t, guildtest.StateDir(t), "-database-url", pg.URL())
}

func TestPostgresIsKilled(t *testing.T) {
	t.Parallel()
	s := begin(t, program.Start(t, guildtest.StateDir(t)))
	for range 2 {
		said := s.n.WatchReadiness()
		signal(t, syscall.SIGKILL, s.n.Postmaster())
		s.refused()
		s.recovered()
		s.said(said, guildtest.Ready, "database_unavailable")
	}
	s.n.AwaitLog(`level=ERROR msg="postgres died, restarting it"`)
	s.holds()
	got := s.readers[0].Record()
	if a, b, _ := strings.Cut(got.Frames[0].ID, "."); a == "" || strings.HasPrefix(got.Cursor, a+".") {
		t.Errorf("got ids from %s.%s to %s, want a new epoch after each start of Postgres", a, b, got.Cursor)
	}
	s.end()
}

// When a backend is killed, Postgres ends all its processes and recovers.
func TestBackendIsKilled(t *testing.T) {
	t.Parallel()
	pg, n := onCluster(t)
	s := begin(t, n)
	var pid int
	const busy = `SELECT pid FROM pg_stat_activity WHERE usename = $1 AND pid <> pg_backend_pid()
		ORDER BY state_change DESC LIMIT 1`
	if err := dbtest.Connect(t, pg.URL()).QueryRow(t.Context(), busy, pgrun.Owner).Scan(&pid); err != nil {
		t.Fatal(err)
	}
	said := s.n.WatchReadiness()
	signal(t, syscall.SIGKILL, pid)
	s.refused()
	s.recovered()
	s.said(said, guildtest.Ready, "database_unavailable")
	s.holds()
	s.end()
}

func TestPostgresStandsStill(t *testing.T) {
	t.Parallel()
	pg, n := onCluster(t)
	s := begin(t, n)
	signal(t, syscall.SIGSTOP, pg.Pid()) // first stop the parent, so that it starts no more children
	all := family(t, pg.Pid())
	t.Cleanup(func() { // a suspended Postgres would not shut down
		for _, pid := range all {
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
	})
	signal(t, syscall.SIGSTOP, all...)
	s.n.AwaitReadiness("database_unavailable")
	<-time.After(5 * time.Second)
	s.n.AwaitLog(cannotRead +
		`it does not answer in time: is it overloaded or stopped, or the network to it cut\?`)
	slices.Reverse(all) // the parent last: once it goes on, it takes children away that have ended
	signal(t, syscall.SIGCONT, all...)
	s.recovered()
	s.holds()
	s.end()
}

func TestPostgresIsRestarted(t *testing.T) {
	t.Parallel()
	pg, n := onCluster(t)
	s := begin(t, n)
	said := s.n.WatchReadiness()
	signal(t, syscall.SIGINT, pg.Pid())
	s.refused()
	s.recovered()
	s.said(said, guildtest.Ready, "database_unavailable")
	// Which of these it says depends on when it looks: Postgres may be back within a second.
	s.n.AwaitLog(cannotRead + `(is it up|it is stopping or starting|the connection was lost)`)
	s.holds()
	s.end()
}

func signal(t *testing.T, s syscall.Signal, pids ...int) {
	t.Helper()
	for _, pid := range pids {
		if err := syscall.Kill(pid, s); err != nil {
			t.Fatal(err)
		}
	}
}

// family returns the ids of a process and its children.
func family(t *testing.T, pid int) []int {
	t.Helper()
	children, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/task/" + strconv.Itoa(pid) + "/children")
	if err != nil {
		t.Fatal(err)
	}
	all := []int{pid}
	for child := range strings.FieldsSeq(string(children)) {
		n, _ := strconv.Atoi(child)
		all = append(all, n)
	}
	return all
}

// Other clients take all connections of Postgres, and the server's connections end.
func TestPostgresIsOutOfConnections(t *testing.T) {
	t.Parallel()
	pg, n := onCluster(t, "max_connections=16")
	s := begin(t, n)
	admin := dbtest.Connect(t, pg.URLFor(pgrun.Superuser, "postgres"))
	var held []*pgx.Conn
	guildtest.Eventually(t, "other clients have all connections", guildtest.Recovery, func() bool {
		const cut = `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
			WHERE application_name <> 'other' AND usename = $1`
		var left int
		if err := admin.QueryRow(t.Context(), cut, pgrun.Owner).Scan(&left); err != nil {
			t.Fatal(err)
		}
		for {
			conn, err := pgx.Connect(t.Context(), pg.URL()+"&application_name=other")
			if err != nil {
				break
			}
			held = append(held, conn)
		}
		return left == 0
	})
	s.n.AwaitReadiness("database_unavailable")
	s.n.AwaitLog(cannotRead +
		`all of its connections are taken: raise max_connections`)
	_, stderr, code := program.Run(t, nil,
		"serve", "-state", guildtest.StateDir(t), "-addr", "127.0.0.1:0", "-database-url", pg.URL())
	if code != 1 || !guildtest.IsOneLine(stderr) || !strings.Contains(stderr, "raise max_connections") {
		t.Errorf("another server: got exit %d and %q, want 1 and one line that says what to do", code, stderr)
	}
	for _, conn := range held {
		_ = conn.Close(t.Context())
	}
	s.recovered()
	s.holds()
	s.end()
}

// Another client holds a lock that every post needs, for longer than a post waits.
func TestPostgresIsLocked(t *testing.T) {
	t.Parallel()
	pg, n := onCluster(t)
	s := begin(t, n)
	tx, err := dbtest.Connect(t, pg.URL()).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `LOCK TABLE messages IN ACCESS EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	s.n.AwaitLog(
		`error="the database is unavailable: a lock was not had in time: ` +
			`pg_stat_activity and pg_locks show who holds it`,
	)
	s.n.AwaitReadiness("log_stale") // reading the event log waits for the lock too
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.recovered()
	s.holds()
	s.end()
}
