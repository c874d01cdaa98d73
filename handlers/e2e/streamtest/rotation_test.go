package streamtest_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers/e2e/nodetest"
)

// A reader whose streams are rotated all the time comes back with its last id, and misses nothing.
func TestAReaderThatIsRotatedMissesNothing(t *testing.T) {
	dbtest.Long(t) // TestAStreamIsRotatedAtItsAge is fast
	t.Parallel()
	nodetest.EachTransport(t, func(t *testing.T, over nodetest.Transport) {
		n := nodetest.Start(t, nodetest.Setup{R3labs: over.R3labs, StreamMaxAge: 100 * time.Millisecond})
		alice, bob := n.User("alice"), n.User("bob")
		ops := bob.General(t, "ops", "alice")
		var want []string
		posts := make(chan string, 1)
		go func() {
			defer close(posts)
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for range 150 {
				<-tick.C
				p, err := nodetest.Ask[nodetest.Posted](bob, 201, "POST",
					"/api/channels/"+ops.Channel.ID+"/messages", nodetest.Body{"content": "hi"})
				if err != nil {
					t.Error(err)
					return
				}
				posts <- p.Cursor
			}
		}()
		written := make(chan struct{})
		go func() {
			defer close(written)
			for p := range posts {
				want = append(want, p)
			}
		}()
		var got []string
		last, rotations := ops.Cursor, 0
		for end := ""; end == "" || last != end; {
			s, err := alice.Connect(over, "", "Last-Event-ID", last)
			if err != nil {
				t.Fatal(err)
			}
			frames := s.Ended(t)
			s.Close()
			closing := frames[len(frames)-1]
			if closing.Event != "stream.closing" ||
				closing.Data != `{"reason":"rotated","reconnect":true}` {
				t.Fatalf("got %s last, want stream.closing", closing.Raw)
			}
			rotations++
			for _, f := range frames {
				if f.Event == "message.created" {
					got = append(got, f.ID)
				}
				if f.ID != "" {
					last = f.ID
				}
			}
			if isClosed(written) && end == "" {
				end = want[len(want)-1]
			}
		}
		<-written
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-acknowledged +heard):\n%s", diff)
		}
		if rotations < 10 {
			t.Errorf("got %d rotations, too few to tell anything", rotations)
		}
	})
}
