package handlers_test

import (
	"sync"
	"testing"

	"fabric-guild/handlers"
	"fabric-guild/handlers/config"
)

// Claims that wait are limited like streams: on a server, and from an address. Claims that need not wait are not.
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
			n := start(t, setup{edge: tt.edge})
			ann := n.user("ann")
			ops := ann.general(t, "ops", "one", "two", "three").Channel.ID
			wait := body{"waitSeconds": 60}
			var waiting sync.WaitGroup
			for i, id := range []string{"one", "two"} {
				bot := n.user(id)
				bot.claim(t, body{})
				waiting.Go(func() { bot.claim(t, wait) })
				if !eventually(func() bool { return handlers.PlacesTaken(n.server) == i+1 }) {
					t.Fatal("the claim does not wait")
				}
			}
			three := n.user("three")
			three.claim(t, body{})
			three.refused(t, tt.status, tt.code, "POST", "/api/wakes/claim", wait)
			ann.says(t, ops, "hi")
			waiting.Wait()
			three.wake(t, body{}) // the places are free again
		})
	}
}
