package handlers_test

import (
	"flag"
	"fmt"
	"runtime"
	"testing"

	"fabric-guild/db/dbtest"
	"fabric-guild/events/ssetest"
	"fabric-guild/handlers"
	"fabric-guild/handlers/config"
	"fabric-guild/handlers/e2e/nodetest"
)

var manyClaims = flag.Int("claims", 600,
	"how many claims TestManyParkedClaims parks; each needs two open files")

// A server that holds as many claims as it may refuses more of them, of one user and of all, and pays nothing
// for those that it refuses. The claims that wait get their work, and their answer when the server drains. It
// is no parallel test: it counts the memory of the whole process.
func TestManyParkedClaims(t *testing.T) {
	dbtest.Long(t)                   // TestWhatEndsAParkedClaim is fast
	const ofOne, most = 64, 28 << 10 // the client's side is counted, and the race detector needs memory too
	n := nodetest.Start(t, nodetest.Setup{Edge: config.Edge{MaxStreams: *manyClaims}})
	ann := n.User("ann")
	bots := []*nodetest.User{n.User("greedy")}
	for i := range *manyClaims / 20 {
		bots = append(bots, n.User(fmt.Sprint("bot", i)))
	}
	var ids []string
	for _, bot := range bots {
		bot.Claim(t, nodetest.Body{}) // opens the queue
		ids = append(ids, bot.ID)
	}
	ops := ann.General(t, "ops", ids...).Channel.ID
	n.Client.CloseIdleConnections()
	before, goroutines := memoryOf(n)

	greedy, wait := bots[0], nodetest.Body{"waitSeconds": 2}
	var parked []rawClaim
	for range ofOne {
		parked = append(parked, claimRaw(t, greedy, waits))
	}
	park(t, n, ofOne)
	for range 20 {
		greedy.Refused(t, 429, "too_many_claims", "POST", "/api/wakes/claim", wait)
	}
	for i := ofOne; i < *manyClaims; i++ {
		parked = append(parked, claimRaw(t, bots[1+i%(len(bots)-1)], waits))
	}
	park(t, n, *manyClaims)
	for i := range 100 {
		bot := bots[1+i%(len(bots)-1)]
		bot.Refused(t, 503, "server_full", "POST", "/api/wakes/claim", wait)
	}
	bots[1].Claim(t, nodetest.Body{}) // a claim that does not wait needs no place
	n.Client.CloseIdleConnections()
	if !ssetest.Await(func() bool {
		_, now := memoryOf(n)
		return now <= goroutines+*manyClaims+10
	}) {
		t.Errorf("got more than %d goroutines, want one for each claim that waits", *manyClaims+10)
	}
	if after, _ := memoryOf(n); after-before > most**manyClaims {
		t.Errorf("got %d bytes for each claim, want %d at most", (after-before) / *manyClaims, most)
	}

	ann.Says(t, ops, "hi")
	park(t, n, *manyClaims-len(bots)) // one claim of each bot has the work
	n.Server.Drain()
	if err := n.Server.AwaitClaims(t.Context()); err != nil {
		t.Error(err)
	}
	work := 0
	for _, c := range parked {
		if w, _ := c.answer(); w != nil {
			work++
		}
	}
	if got := handlers.PlacesTaken(n.Server); work != len(bots) || got != 0 {
		t.Errorf("got %d wakes and %d places taken, want %d and 0", work, got, len(bots))
	}
}

// memoryOf returns the memory of the process in bytes, and the number of a node's goroutines.
func memoryOf(n *nodetest.Node) (bytes, goroutines int) {
	var m runtime.MemStats
	for range 4 { // each collection halves the stacks that are too large
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	goroutines, _ = n.Goroutines()
	return int(m.HeapAlloc + m.StackInuse), goroutines
}
