package handlers_test

import (
	"testing"
	"time"

	"fabric-guild/handlers"

	"github.com/google/go-cmp/cmp"
)

// A reader whose streams are rotated all the time comes back with its last id, and misses nothing.
func TestAReaderThatIsRotatedMissesNothing(t *testing.T) {
	t.Parallel()
	for _, over := range transports {
		t.Run(over.name, func(t *testing.T) {
			t.Parallel()
			n := start(t, setup{r3labs: over.r3labs, streamMaxAge: 100 * time.Millisecond})
			alice, bob := n.user("alice"), n.user("bob")
			ops := bob.general(t, "ops", "alice")
			var want []string
			posts := make(chan string, 1)
			go func() {
				defer close(posts)
				tick := time.NewTicker(10 * time.Millisecond)
				defer tick.Stop()
				for range 150 {
					<-tick.C
					p, err := ask[posted](bob, 201, "POST", "/api/channels/"+ops.Channel.ID+"/messages", body{"content": "hi"})
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
				s, err := alice.connect(over, "", "Last-Event-ID", last)
				if err != nil {
					t.Fatal(err)
				}
				frames := s.ended(t)
				s.close()
				closing := frames[len(frames)-1]
				if closing.event != "stream.closing" || closing.data != `{"reason":"rotated","reconnect":true}` {
					t.Fatalf("got %s last, want stream.closing", closing.raw)
				}
				rotations++
				for _, f := range frames {
					if f.event == "message.created" {
						got = append(got, f.id)
					}
					if f.id != "" {
						last = f.id
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
}

// Streams that begin together do not end together.
func TestRotationIsSpread(t *testing.T) {
	t.Parallel()
	const most = time.Hour
	if got := handlers.Lifetime(0); got != 0 {
		t.Errorf("got %v for none, want 0", got)
	}
	var early, late int
	for range 1000 {
		switch d := handlers.Lifetime(most); {
		case d < most/2 || d > most:
			t.Fatalf("got %v, want half of %v at least, and no more than it", d, most)
		case d < most*5/8:
			early++
		case d > most*7/8:
			late++
		}
	}
	if early < 150 || late < 150 {
		t.Errorf("got %d in the first and %d in the last quarter of the time, want about 250 each", early, late)
	}
}
