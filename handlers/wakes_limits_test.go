package handlers_test

import (
	"sync"
	"testing"

	"fabric-guild/events/ssetest"
	"fabric-guild/handlers"
	"fabric-guild/handlers/config"
	"fabric-guild/handlers/e2e/nodetest"
)

// Claims that wait are limited like streams: on a server, and from an address. Claims that need not wait are
// not.
func TestWaitingClaimsAreLimited(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		edge   config.Edge
		status int
		code   string
	}{
		{config.Edge{MaxStreams: 2}, 503, "server_full"},
		{config.Edge{MaxStreamsPerAddress: 2}, 429, "too_many_streams"},
	} {
		t.Run(tt.code, func(t *testing.T) {
			t.Parallel()
			n := nodetest.Start(t, nodetest.Setup{Edge: tt.edge})
			ann := n.User("ann")
			ops := ann.General(t, "ops", "one", "two", "three").Channel.ID
			wait := nodetest.Body{"waitSeconds": 60}
			var waiting sync.WaitGroup
			for i, id := range []string{"one", "two"} {
				bot := n.User(id)
				bot.Claim(t, nodetest.Body{})
				waiting.Go(func() { bot.Claim(t, wait) })
				if !ssetest.Await(func() bool { return handlers.PlacesTaken(n.Server) == i+1 }) {
					t.Fatal("the claim does not wait")
				}
			}
			three := n.User("three")
			three.Claim(t, nodetest.Body{})
			three.Refused(t, tt.status, tt.code, "POST", "/api/wakes/claim", wait)
			ann.Says(t, ops, "hi")
			waiting.Wait()
			three.Wake(t, nodetest.Body{}) // the places are free again
		})
	}
}

// A user may have 64 claims wait, and no more, however many it sends.
func TestClaimsOfOneUserAreLimited(t *testing.T) {
	t.Parallel()
	const most = 64
	n := nodetest.Start(t, nodetest.Setup{})
	bot := n.User("bot")
	bot.Claim(t, nodetest.Body{})
	wait := nodetest.Body{"waitSeconds": 60}
	var waiting sync.WaitGroup
	for range most {
		waiting.Go(func() { bot.Claim(t, wait) })
	}
	if !ssetest.Await(func() bool { return handlers.PlacesTaken(n.Server) == most }) {
		t.Fatal("the claims do not wait")
	}
	for range 10 {
		bot.Refused(t, 429, "too_many_claims", "POST", "/api/wakes/claim", wait)
	}
	n.User("other").Claim(t, nodetest.Body{}) // the limit of one user is not that of others
	bot.Done(t, "DELETE", "/api/wakes", nil)  // all that wait end
	waiting.Wait()
	bot.Claim(t, nodetest.Body{})
}

// A claim that did not look at the database, because another one had just found nothing, does not open a
// queue again that is closed while it waits.
func TestAClaimThatSkipsItsLookOpensNoQueue(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	bot := n.User("bot")
	wait := nodetest.Body{"waitSeconds": 60}
	var waiting sync.WaitGroup
	for i := range 2 {
		waiting.Go(func() { bot.Claim(t, wait) })
		if !ssetest.Await(func() bool {
			return handlers.PlacesTaken(n.Server) == i+1 && handlers.ClaimsAreIdle(n.Server, "bot")
		}) {
			t.Fatal("the claim does not wait")
		}
	}
	bot.Done(t, "DELETE", "/api/wakes", nil)
	if !ssetest.Await(func() bool { return handlers.PlacesTaken(n.Server) == 0 }) {
		t.Error("a claim still waits after its queue was closed")
	}
	if got := n.Count(t, `SELECT count(*) FROM wake_consumers`); got != 0 {
		t.Errorf("got %d queues, want none", got)
	}
	n.Server.Drain()
	waiting.Wait()
}
