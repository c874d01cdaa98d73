package faultstest

import (
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers/e2e/guildtest"
)

// The test sets the clocks of the server and of Postgres forward and back, separately. Nothing breaks,
// because the numbers of the event log define the order, and all waits use the monotonic clock. Only the
// lifetime of a token depends on the server's clock.
func TestClocksJump(t *testing.T) {
	t.Parallel()
	server := guildtest.NewClock(t)
	postgres := guildtest.NewClock(t)
	state := guildtest.StateDir(t)
	n := server.Program(program).Start(t, state, "-postgres-bin", postgres.Postgres())
	stdout, _, _ := program.Run(t, nil, "token", "-state", state, "-ttl", "1h", "alice")
	hour := strings.TrimSpace(stdout)
	s := begin(t, n)
	postmaster := dbtest.Connect(t, n.Superuser("postgres"))
	said := n.WatchReadiness()
	for _, jump := range []struct {
		server, postgres time.Duration
		token            int // status for a token that is valid for an hour
	}{
		{2 * time.Hour, 0, http.StatusUnauthorized},
		{2 * time.Hour, 2 * time.Hour, http.StatusUnauthorized},
		{-6 * time.Hour, 2 * time.Hour, http.StatusOK},
		{-6 * time.Hour, -6 * time.Hour, http.StatusOK},
	} {
		server.Set(jump.server)
		postgres.Set(jump.postgres)
		guildtest.Eventually(t, "the server's clock is set", guildtest.Recovery, func() bool {
			return n.Get("/api/me", hour, nil) == jump.token
		})
		guildtest.Eventually(t, "Postgres' clock is set", guildtest.Recovery, func() bool {
			var now time.Time
			if err := postmaster.QueryRow(t.Context(), `SELECT now()`).Scan(&now); err != nil {
				t.Fatal(err)
			}
			return time.Until(now.Add(-jump.postgres)).Abs() < time.Minute
		})
		s.recovered()
	}
	s.said(said, guildtest.Ready)
	signal(t, syscall.SIGKILL, n.Postmaster()) // by its clock, Postgres starts again before its last start
	s.refused()
	s.recovered()
	s.holds()
	s.end()
}
