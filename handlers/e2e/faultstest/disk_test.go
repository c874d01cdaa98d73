package faultstest

import (
	"testing"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers/e2e/guildtest"
)

// First Postgres has no space for rows. Then it has no space for its write-ahead log, and without that it
// does not run.
func TestDiskIsFull(t *testing.T) {
	t.Parallel()
	s := begin(t, program.StartOnDisk(t, 160))
	said := s.n.WatchReadiness()
	makeRoom := s.n.FillDisk()
	s.n.AwaitLog(
		`level=ERROR msg="request failed" .* error="` +
			`the database is unavailable: its disk is full: make room there`,
	)
	s.n.AwaitReadiness("changes_refused") // streams and reads still work
	makeRoom()
	s.recovered()
	s.said(said, guildtest.Ready, "changes_refused")
	s.holds()

	admin := dbtest.Connect(t, s.n.Superuser("postgres"))
	makeRoom = s.n.FillDisk()
	for err := error(nil); err == nil; {
		_, err = admin.Exec(t.Context(), `SELECT pg_switch_wal()`) // begins a new file of the write-ahead log
	}
	s.n.AwaitReadiness("database_unavailable")
	s.n.AwaitLog(`level=ERROR msg=postgres line=".*FATAL: .*No space left on device"`)
	s.n.AwaitLog(`level=ERROR msg="postgres died, restarting it" .* attempt=5`)
	makeRoom()
	s.recovered()
	s.holds()
	s.end()
}
