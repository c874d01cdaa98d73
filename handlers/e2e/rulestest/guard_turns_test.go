package rulestest_test

import (
	"fmt"
	"sync"
	"testing"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers/e2e/nodetest"
)

// In a turn channel posts come one by one. So exactly as many of the agents' messages wake as the limit
// allows, and the turn moves on with the others too.
func TestTheGuardInTurnChannels(t *testing.T) {
	dbtest.Long(t) // TestTheGuardTripsAndAHumanLetsGo is fast
	t.Parallel()
	const agents, each, limit = 6, 4, 5
	n := nodetest.Start(t, nodetest.Setup{})
	other := nodetest.Start(t, nodetest.Setup{Database: n.Database, State: n.State})
	ann := n.User("ann")
	var bots []string
	for i := range agents {
		bots = append(bots, fmt.Sprint("b", i))
	}
	n.Agents(t, bots...)
	for _, xType := range []string{"discuss", "work"} {
		id := ann.Makes(t, xType, bots, nil).Channel.ID
		nodetest.Call[nodetest.Created](t, ann, 200, "PATCH", "/api/channels/"+id,
			nodetest.Body{"loopLimit": limit})
		for run := range 2 {
			ann.Says(t, id, "go")
			var mu sync.Mutex
			var woke, moved int
			var posting sync.WaitGroup
			for i, name := range bots {
				bot := n.User(name).At([]*nodetest.Node{n, other}[i%2])
				posting.Go(func() {
					for range each {
						post, err := nodetest.Ask[nodetest.FullPost](bot, 201, "POST", nodetest.PathOf(id),
							nodetest.Body{"content": "and you?"})
						if err != nil {
							t.Error(err)
							return
						}
						mu.Lock()
						woke += post.WakeupCount
						if post.Message.TurnUserID != "" {
							moved++
						}
						mu.Unlock()
					}
				})
			}
			posting.Wait()
			if woke != limit || moved != agents*each {
				t.Errorf("%s: got %d wakes and %d turns, want %d and %d", xType, woke, moved,
					limit, agents*each)
			}
			const trips = `SELECT count(*) FROM events WHERE kind = 'guard.tripped' AND channel_id = $1`
			if got := n.Count(t, trips, id); got != run+1 {
				t.Errorf("%s: got %d events guard.tripped after run %d, want one for each", xType, got, run+1)
			}
		}
	}
}
