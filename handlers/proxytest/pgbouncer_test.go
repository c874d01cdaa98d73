package proxytest

import (
	"slices"
	"strings"
	"testing"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers/guildtest"
)

// Two servers reach Postgres through PgBouncer in transaction mode, with a doorbell that goes past it and
// without one. One of them is killed.
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
			state, args := guildtest.StateDir(t), []string{"-database-url", pooled}
			if doorbell {
				args = append(args, "-doorbell-url", direct)
			}
			a, b := program.Start(t, state, slices.Clone(args)...), program.Start(t, state, slices.Clone(args)...)
			l := guildtest.NewLoad(t, a)
			aThenB := func() string {
				if a.Exited() {
					return b.Base()
				}
				return a.Base()
			}
			readers := []*guildtest.Reader{l.Listen("bob", aThenB), l.Listen("bob", b.Base), l.Listen("carol", aThenB)}
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
				t.Errorf("got %d posts that were refused, want none: the database is there", got)
			}
			const silent = "leads to a connection pooler"
			for _, n := range []*guildtest.Node{a, b} {
				if got := strings.Count(n.Log(), silent); doorbell && got > 0 || !doorbell && got != 1 {
					t.Errorf("got %d lines that say that the doorbell %s, want one without -doorbell-url and none with it", got, silent)
				}
			}
		})
	}
}
