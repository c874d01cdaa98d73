package streamtest_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"fabric-guild/db/dbtest"
	"fabric-guild/events/ssetest"
	"fabric-guild/handlers/e2e/nodetest"
)

// After 200 streams were opened, used and closed by their clients no goroutine is left of them.
func TestNoGoroutineOutlives200Streams(t *testing.T) {
	dbtest.Long(t)
	t.Parallel()
	nodetest.OverTransports(t, func(t *testing.T, n *nodetest.Node, over nodetest.Transport) {
		alice := n.User("alice")
		ops := alice.General(t, "ops").Channel.ID
		use := func(i, streams int) {
			u := n.User(fmt.Sprint("user", i))
			// All join at once. On a busy machine some wait too long for the channel's lock, and must try
			// again.
			var err error
			if !ssetest.Await(func() bool {
				_, err = nodetest.Ask[nodetest.Changed](u, 200, "POST", "/api/channels/"+ops+"/join", nil)
				return err == nil || !strings.Contains(err.Error(), "got 503 ")
			}) || err != nil {
				t.Error(err)
				return
			}
			shared := nodetest.NewLine(over, 0)
			defer shared.HangUp()
			var open []*nodetest.Stream
			for k := range streams {
				l := shared
				if k%2 == 0 {
					l = nodetest.NewLine(over, 0)
					defer l.HangUp()
				}
				s, err := u.Dial(l, "")
				if err == nil {
					err = s.Begin()
				}
				if err == nil && k%4 == 2 {
					_, err = s.Read() // stream.ready: what is posted now comes after it
				}
				if err != nil {
					t.Error(err)
					return
				}
				open = append(open, s)
			}
			if _, err := nodetest.Ask[nodetest.Posted](alice, 201, "POST", "/api/channels/"+ops+"/messages",
				nodetest.Body{"content": "hi"}); err != nil {
				t.Error(err)
			}
			for k, s := range open {
				if k%4 > 0 { // some are closed with frames unread, some before their first
					if _, err := s.Read(); err != nil {
						t.Error(err)
					}
				}
				s.Close()
			}
		}
		quiet := func() int {
			n.Client.CloseIdleConnections()
			got, _ := n.Goroutines()
			return got
		}
		use(0, 2)
		// What the node keeps for itself: its listener, its readers, its pool.
		if !ssetest.Await(func() bool { return n.Router.Streams() == 0 && quiet() < 16 }) {
			_, stacks := n.Goroutines()
			t.Fatalf("got %d goroutines before any stream, want a few:\n%s", quiet(), stacks)
		}
		before := quiet()
		var users sync.WaitGroup
		for i := range 20 {
			users.Go(func() { use(i+1, 10) })
		}
		users.Wait()
		n.Client.CloseIdleConnections()
		n.WantGoroutines(t, before)
		if got := n.Router.Streams(); got != 0 {
			t.Errorf("got %d streams that are counted as open, want 0", got)
		}
	})
}

// Clients that hang up while the server writes to them, or waits to, harm nobody and leave nothing.
func TestClientsThatHangUpWhileTheyAreWrittenTo(t *testing.T) {
	dbtest.Long(t)
	t.Parallel()
	nodetest.OverTransports(t, func(t *testing.T, n *nodetest.Node, over nodetest.Transport) {
		const clients, rounds = 8, 30
		alice := n.User("alice")
		c := alice.General(t, "ops", "bob")
		for range 60 {
			alice.Post(t, c.Channel.ID, strings.Repeat("x", 16<<10))
		}
		n.Settle(t)
		before := n.Count(t, `SELECT count(*) FROM messages`)
		var hanging sync.WaitGroup
		for range clients {
			hanging.Go(func() {
				for i := range rounds {
					l := nodetest.NewLine(over, 32<<10)
					s, err := n.User("bob").Dial(l, "", "Last-Event-ID", c.Cursor)
					if err == nil {
						err = s.Begin()
					}
					if err != nil {
						l.HangUp()
						t.Error(err)
						return
					}
					for range i % 8 {
						if _, err := s.Read(); err != nil {
							t.Error(err)
						}
					}
					if i%2 == 0 { // else the connection just ends
						s.Close()
					}
					l.HangUp()
					s.Cancel()
				}
			})
		}
		hanging.Wait()
		if !ssetest.Await(func() bool { return n.Router.Streams() == 0 }) {
			t.Errorf("got %d open streams, want 0", n.Router.Streams())
		}
		bob := n.User("bob").Resume(t, over, "", c.Cursor)
		end := alice.Post(t, c.Channel.ID, "end")
		if got := len(bob.Until(t, end.Cursor)); got != before+1 {
			t.Errorf("got %d messages, want %d", got, before+1)
		}
	})
}
