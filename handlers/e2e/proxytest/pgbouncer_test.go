package proxytest

import (
	"slices"
	"strings"
	"testing"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers/e2e/guildtest"
)

// Two servers use Postgres through PgBouncer in transaction mode, with a direct doorbell and without a
// doorbell. One of the servers is killed.
func TestServersBehindPgBouncer(t *testing.T) {
	t.Parallel()
	for _, doorbell := range []bool{true, false} {
		name := "by polling"
		if doorbell {
			name = "with a doorbell"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pooled, direct := dbtest.NewPooled(t)
			state := guildtest.StateDir(t)
			args := []string{"-database-url", pooled}
			if doorbell {
				args = append(args, "-doorbell-url", direct)
			}
			a := program.Start(t, state, slices.Clone(args)...)
			b := program.Start(t, state, slices.Clone(args)...)
			l := guildtest.NewLoad(t, a)
			aThenB := func() string {
				if a.Exited() {
					return b.Base()
				}
				return a.Base()
			}
			readers := []*guildtest.Reader{
				l.Listen("bob", aThenB),
				l.Listen("bob", b.Base),
				l.Listen("carol", aThenB),
			}
			l.Write(4, aThenB)
			l.Write(4, b.Base)
			l.AwaitMore(300, guildtest.Recovery)
			a.Kill()
			l.AwaitMore(300, guildtest.Recovery)
			l.Finish()
			for _, r := range readers {
				l.Verify(r, guildtest.Whole)
			}
			if got := l.Counts().Refused; got > 0 {
				t.Errorf("got %d refused posts, want none, because the database is available", got)
			}
			const silent = "leads to a connection pooler"
			for _, n := range []*guildtest.Node{a, b} {
				if got := strings.Count(n.Log(), silent); doorbell && got > 0 || !doorbell && got != 1 {
					t.Errorf("got %d log lines with %q, want one without -doorbell-url and none with it",
						got, silent)
				}
			}
		})
	}
}
