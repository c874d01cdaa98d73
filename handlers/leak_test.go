package handlers_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// After 200 streams were opened, used and closed by their clients no goroutine is left of them.
func TestNoGoroutineOutlives200Streams(t *testing.T) {
	long(t)
	t.Parallel()
	overTransports(t, func(t *testing.T, n *node, over transport) {
		alice := n.user("alice")
		ops := alice.general(t, "ops").Channel.ID
		use := func(i, streams int) {
			u := n.user(fmt.Sprint("user", i))
			if _, err := ask[changed](u, 200, "POST", "/api/channels/"+ops+"/join", nil); err != nil {
				t.Error(err)
				return
			}
			shared := newLine(over, 0)
			defer shared.hangUp()
			var open []*stream
			for k := range streams {
				l := shared
				if k%2 == 0 {
					l = newLine(over, 0)
					defer l.hangUp()
				}
				s, err := u.dial(l, "")
				if err == nil {
					err = s.begin()
				}
				if err == nil && k%4 == 2 {
					_, err = s.read() // stream.ready: what is posted now comes after it
				}
				if err != nil {
					t.Error(err)
					return
				}
				open = append(open, s)
			}
			if _, err := ask[posted](alice, 201, "POST", "/api/channels/"+ops+"/messages", body{"content": "hi"}); err != nil {
				t.Error(err)
			}
			for k, s := range open {
				if k%4 > 0 { // some are closed with frames unread, some before their first
					if _, err := s.read(); err != nil {
						t.Error(err)
					}
				}
				s.close()
			}
		}
		quiet := func() int {
			n.client.CloseIdleConnections()
			got, _ := n.goroutines()
			return got
		}
		use(0, 2)
		// What the node keeps for itself: its listener, its readers, its pool.
		if !eventually(func() bool { return n.router.Streams() == 0 && quiet() < 16 }) {
			_, stacks := n.goroutines()
			t.Fatalf("got %d goroutines before any stream, want a few:\n%s", quiet(), stacks)
		}
		before := quiet()
		var users sync.WaitGroup
		for i := range 20 {
			users.Go(func() { use(i+1, 10) })
		}
		users.Wait()
		n.client.CloseIdleConnections()
		n.wantGoroutines(t, before)
		if got := n.router.Streams(); got != 0 {
			t.Errorf("got %d streams that are counted as open, want 0", got)
		}
	})
}

// Clients that hang up while the server writes to them, or waits to, harm nobody and leave nothing.
func TestClientsThatHangUpWhileTheyAreWrittenTo(t *testing.T) {
	long(t)
	t.Parallel()
	overTransports(t, func(t *testing.T, n *node, over transport) {
		const clients, rounds = 8, 30
		alice := n.user("alice")
		c := alice.general(t, "ops", "bob")
		for range 60 {
			alice.post(t, c.Channel.ID, strings.Repeat("x", 16<<10))
		}
		n.settle(t)
		before := n.count(t, `SELECT count(*) FROM messages`)
		var hanging sync.WaitGroup
		for range clients {
			hanging.Go(func() {
				for i := range rounds {
					l := newLine(over, 32<<10)
					s, err := n.user("bob").dial(l, "", "Last-Event-ID", c.Cursor)
					if err == nil {
						err = s.begin()
					}
					if err != nil {
						l.hangUp()
						t.Error(err)
						return
					}
					for range i % 8 {
						if _, err := s.read(); err != nil {
							t.Error(err)
						}
					}
					if i%2 == 0 { // else the connection just ends
						s.close()
					}
					l.hangUp()
					s.cancel()
				}
			})
		}
		hanging.Wait()
		if !eventually(func() bool { return n.router.Streams() == 0 }) {
			t.Errorf("got %d open streams, want 0", n.router.Streams())
		}
		bob := n.user("bob").resume(t, over, "", c.Cursor)
		end := alice.post(t, c.Channel.ID, "end")
		if got := len(bob.until(t, end.Cursor)); got != before+1 {
			t.Errorf("got %d messages, want %d", got, before+1)
		}
	})
}
