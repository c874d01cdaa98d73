package faultstest

import (
	"context"
	"testing"

	"github.com/Shopify/toxiproxy/v2"

	"fabric-guild/db/dbtest"
	"fabric-guild/db/pgrun"
	"fabric-guild/handlers/e2e/guildtest"
)

// Postgres fails over to a standby that has stopped following.
func TestFailoverToAStaleStandby(t *testing.T) {
	t.Parallel()
	failover(t, func(t *testing.T, primary *pgrun.Postgres, settings []string) (*pgrun.Postgres, func()) {
		standby := dbtest.NewStandby(t, primary, settings...)
		admin := dbtest.Connect(t, standby.URLFor(pgrun.Superuser, "postgres"))
		exec := func(sql string) {
			if _, err := admin.Exec(t.Context(), sql); err != nil {
				t.Fatal(err)
			}
		}
		exec(`ALTER SYSTEM SET primary_conninfo = ''`)
		exec(`SELECT pg_reload_conf()`)
		const query = `SELECT NOT EXISTS (SELECT FROM pg_stat_wal_receiver)`
		guildtest.Eventually(t, "the standby does not follow any more",
			guildtest.Recovery, func() (lags bool) {
				if err := admin.QueryRow(t.Context(), query).Scan(&lags); err != nil {
					t.Fatal(err)
				}
				return lags
			})
		return standby, func() { exec(`SELECT pg_promote()`) }
	})
}

// An older copy of its data directory replaces Postgres.
func TestFailoverToAnOldCopy(t *testing.T) {
	t.Parallel()
	failover(t, func(t *testing.T, primary *pgrun.Postgres, settings []string) (*pgrun.Postgres, func()) {
		return dbtest.NewCopy(t, primary, settings...), func() {}
	})
}

// failover replaces Postgres with the one that replica makes, and promotes it. The new Postgres lacks the
// latest events, so these are lost. Every stream gets a reset that says so, and starts again. The wake queue
// hands out everything that is posted afterwards.
func failover(
	t *testing.T,
	replica func(t *testing.T, primary *pgrun.Postgres, settings []string) (pg *pgrun.Postgres,
		promote func()),
) {
	t.Helper()
	primary, l, n := overNetwork(t)
	s := begin(t, n)
	e := newErrands(t, n)
	e.run(3)
	listen, addr := dbtest.ListenTCP(t)
	second, promote := replica(t, primary, listen)
	s.l.AwaitMore(100, guildtest.Recovery)
	e.run(3) // the server's position and the queue are now ahead of the second Postgres

	now, cancel := context.WithCancel(t.Context())
	cancel()
	_ = primary.Stop(now)
	promote()
	if err := l.proxy.Update(
		&toxiproxy.Proxy{Listen: l.proxy.Listen, Upstream: addr, Enabled: true},
	); err != nil {
		t.Fatal(err)
	}
	s.recovered()
	e.run(3) // no new wake is missed
	s.n.AwaitLog(
		`level=WARN msg="the database is back without its latest events; streams beyond them are reset"`,
	)
	var base string
	const latest = `SELECT epoch || '.' || base FROM epochs ORDER BY epoch DESC LIMIT 1`
	if err := dbtest.Connect(t, second.URL()).QueryRow(t.Context(), latest).Scan(&base); err != nil {
		t.Fatal(err)
	}
	s.l.Finish()
	for _, r := range s.readers {
		s.l.VerifyReset(r, "lost_tail", base)
	}
	s.leavesNothing()
}
