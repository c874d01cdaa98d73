package db_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"fabric-guild/db/dbtest"
)

// settled returns the fault of a world in which every writer is done: the reader has not reached the end of
// the event log after one more page.
func (p protocol) settled(w world) (fault string) {
	if slices.ContainsFunc(w.writers[:], func(w writer) bool { return w.left > 0 }) {
		return ""
	}
	for range 2 * len(p.reader) {
		w = p.readerMoves(w)[0].to
	}
	if end := highest(w.visible); w.reader.cursor < end {
		return fmt.Sprintf("the reader stops at %d, and the log ends at %d", w.reader.cursor, end)
	}
	return ""
}

// alike returns the same value for worlds that differ only in which writer is which.
func (w world) alike() world {
	slices.SortFunc(w.writers[:], func(a, b writer) int {
		return cmp.Or(cmp.Compare(a.left, b.left), cmp.Compare(a.at, b.at), cmp.Compare(a.key, b.key),
			cmp.Compare(a.keys, b.keys), cmp.Compare(a.drawn, b.drawn), cmp.Compare(a.cached, b.cached))
	})
	return w
}

// explore tries everything that can happen, the shortest stories first. It returns the number of worlds, or
// the story of a fault.
func (p protocol) explore(start world) (worlds int, story []string) {
	type origin struct {
		from world
		what string
	}
	came := map[world]origin{start: {}}
	seen := map[world]bool{start.alike(): true}
	tell := func(w world, last ...string) []string {
		for at := w; at != start; at = came[at].from {
			last = append([]string{came[at].what}, last...)
		}
		return last
	}
	for queue := []world{start}; len(queue) > 0; queue = queue[1:] {
		w := queue[0]
		for _, m := range p.moves(w) {
			if m.fault != "" {
				return len(came), tell(w, m.what, "FAULT: "+m.fault)
			}
			if key := m.to.alike(); !seen[key] {
				seen[key], came[m.to] = true, origin{w, m.what}
				queue = append(queue, m.to)
			}
		}
		if fault := p.settled(w); fault != "" {
			return len(came), tell(w, "FAULT: "+fault)
		}
	}
	return len(came), nil
}

// wander takes random steps until all transactions have ended. It returns the story of a fault.
func (p protocol) wander(w world, rng *rand.Rand) (story []string) {
	for slices.ContainsFunc(w.writers[:], func(w writer) bool { return w.left > 0 }) {
		moves := p.moves(w)
		m := moves[rng.IntN(len(moves))]
		story = append(story, m.what)
		if m.fault != "" {
			return append(story, "FAULT: "+m.fault)
		}
		w = m.to
	}
	if fault := p.settled(w); fault != "" {
		return append(story, "FAULT: "+fault)
	}
	return nil
}

// Rules 1 to 11: in every order in which a few writers and a reader take their steps, with and without a
// crash, no number appears later at or below a horizon, and the reader reaches the end.
func TestModelOfTheLogHolds(t *testing.T) {
	dbtest.Long(t)
	t.Parallel()
	for _, size := range []struct {
		protocol
		writers, transactions, crashes int
	}{
		{theCode, 3, 1, 0},
		{theCode, 2, 2, 0},
		{theCode, 2, 2, 1},
		{theCodeTwice, 2, 1, 0},
		{theCodeTwice, 2, 1, 1},
		{theCodeGroup, 2, 1, 0},
		{theCodeGroup, 2, 1, 1},
		{theCodeTold, 2, 2, 0},
		{theCodeTold, 2, 1, 1},
		{theCodeTold, 3, 1, 0},
		{theCodeTwiceTold, 2, 1, 0},
		{theCodeTwiceTold, 2, 1, 1},
		{theCodeGroupTold, 2, 1, 0},
		{theCodeGroupTold, 2, 1, 1},
	} {
		t.Run(fmt.Sprintf("%d writers, %d crashes", size.writers, size.crashes), func(t *testing.T) {
			t.Parallel()
			worlds, story := size.explore(size.start(size.writers, size.transactions, size.crashes))
			if t.Logf("%d worlds", worlds); story != nil {
				t.Errorf("one of %d worlds breaks a promise:\n%s", worlds, strings.Join(story, "\n"))
			}
			if worlds < 1000 {
				t.Error("these are too few worlds to prove anything")
			}
		})
	}
}

// Rules 1 to 11 with more writers, in random orders.
func TestModelOfTheLogHoldsAtRandom(t *testing.T) {
	dbtest.Long(t)
	t.Parallel()
	rng := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	for range 200 {
		if story := theCodeTwice.wander(theCodeTwice.start(modelWriters, 5, 2), rng); story != nil {
			t.Fatalf("a promise is broken:\n%s", strings.Join(story, "\n"))
		}
	}
}

// Without any one of its rules the protocol fails, and the model shows how.
func TestModelOfTheLogCatchesEachFault(t *testing.T) {
	t.Parallel()
	for name, broken := range brokenProtocols {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, story := broken.explore(broken.start(2, 2, 1))
			if story == nil {
				t.Fatal("no order of the steps breaks a promise")
			}
			t.Log("\n" + strings.Join(story, "\n"))
		})
	}
}
