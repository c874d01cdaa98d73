package faultstest

import (
	"os/exec"
	"path/filepath"
	"testing"

	"fabric-guild/db/dbtest"
	"fabric-guild/db/pgrun"
	"fabric-guild/handlers/e2e/guildtest"
)

// An operator restores a dump while the server runs, on the same Postgres, into a new database that replaces
// the old one.
func TestRestoredIntoANewDatabase(t *testing.T) {
	t.Parallel()
	restored(t, func(t *testing.T, pg *pgrun.Postgres, restore func(args ...string)) {
		admin := dbtest.Connect(t, pg.URLFor(pgrun.Superuser, "postgres"))
		for _, statement := range []string{
			`DROP DATABASE fabric WITH (FORCE)`,
			`CREATE DATABASE fabric OWNER fabric`,
		} {
			if _, err := admin.Exec(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
		restore()
	})
}

// An operator restores a dump into the existing database. pg_restore may get into a deadlock with the
// server's statements.
func TestRestoredInPlace(t *testing.T) {
	t.Parallel()
	restored(t, func(_ *testing.T, _ *pgrun.Postgres, restore func(args ...string)) {
		restore("--clean", "--single-transaction")
	})
}

// restored restores a dump that lacks the latest events, so these are lost. Every stream gets a reset that
// says so, and misses no later message.
func restored(t *testing.T, replace func(t *testing.T, pg *pgrun.Postgres, restore func(args ...string))) {
	t.Helper()
	pg, n := onCluster(t)
	s := begin(t, n)
	var bin string
	admin := dbtest.Connect(t, pg.URLFor(pgrun.Superuser, "postgres"))
	const binDir = `SELECT setting FROM pg_config WHERE name = 'BINDIR'`
	if err := admin.QueryRow(t.Context(), binDir).Scan(&bin); err != nil {
		t.Fatal(err)
	}
	tool := func(name string, args ...string) {
		t.Helper()
		guildtest.Eventually(t, name+" succeeds", guildtest.Recovery, func() bool {
			out, err := exec.CommandContext(t.Context(), filepath.Join(bin, name), args...).CombinedOutput()
			if err != nil {
				t.Logf("%s: %v: %s", name, err, out)
			}
			return err == nil
		})
	}
	dump := filepath.Join(t.TempDir(), "guild.dump")
	tool("pg_dump", "-Fc", "-d", pg.URL(), "-f", dump)
	s.l.AwaitMore(100, guildtest.Recovery)

	replace(t, pg, func(args ...string) { tool("pg_restore", append(args, "-d", pg.URL(), dump)...) })
	s.recovered()
	s.n.AwaitLog(
		`level=WARN msg="the database is back without its latest events; streams beyond them are reset"`,
	)
	var base string
	const latest = `SELECT epoch || '.' || base FROM epochs ORDER BY epoch DESC LIMIT 1`
	if err := dbtest.Connect(t, pg.URL()).QueryRow(t.Context(), latest).Scan(&base); err != nil {
		t.Fatal(err)
	}
	s.l.Finish()
	for _, r := range s.readers {
		s.l.VerifyReset(r, "lost_tail", base)
	}
	s.leavesNothing()
}
