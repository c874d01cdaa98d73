package streamtest_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers/e2e/nodetest"
)

// A reader that takes no bytes holds up nobody: all posts are acknowledged and heard by another while it has
// read nothing. Its queue overflows; it then gets everything, on the same connection, or after a resume.
func TestAReaderThatTakesNoBytesHoldsUpNobody(t *testing.T) {
	dbtest.Long(t)
	t.Parallel()
	nodetest.EachTransport(t, func(t *testing.T, over nodetest.Transport) {
		// Together far more than a queue and a batch of 1 MiB each and the sockets' buffers hold.
		const posters, each, size = 6, 80, 8000
		n := nodetest.Start(t, nodetest.Setup{R3labs: over.R3labs, TLS: over.TLS, SendBuffer: 128 << 10})
		alice := n.User("alice")
		ops := alice.General(t, "ops", "bob", "carol", "dave").Channel.ID
		for i := range posters {
			alice.Add(t, ops, fmt.Sprint("poster", i))
		}
		bob, _ := n.User("bob").Fresh(t, over, "")
		stalled := map[string]*nodetest.Stream{}
		for _, id := range []string{"carol", "dave"} {
			l := nodetest.NewLine(over, 128<<10)
			t.Cleanup(l.HangUp)
			s, err := n.User(id).Dial(l, "")
			if err == nil {
				err = s.Begin()
			}
			if err != nil {
				t.Fatal(err)
			}
			stalled[id] = s
		}
		// the last that dave reads
		from := nodetest.Data[nodetest.ReadyData](t, stalled["dave"].Next(t), "stream.ready").Cursor
		carols := nodetest.Data[nodetest.ReadyData](t, stalled["carol"].Next(t), "stream.ready").Cursor

		acknowledged := make([][]string, posters)
		var posting sync.WaitGroup
		for i := range posters {
			posting.Go(func() {
				u := n.User(fmt.Sprint("poster", i))
				for range each {
					p, err := nodetest.Ask[nodetest.Posted](u, 201, "POST",
						"/api/channels/"+ops+"/messages",
						nodetest.Body{"content": strings.Repeat("x", size)})
					if err != nil {
						t.Error(err)
						return
					}
					acknowledged[i] = append(acknowledged[i], p.Cursor)
				}
			})
		}
		var heard []string
		for range posters * each {
			heard = append(heard, bob.NextEvent(t).ID)
		}
		posting.Wait()
		want := slices.SortedFunc(slices.Values(slices.Concat(acknowledged...)), bySeq)
		if diff := cmp.Diff(want, heard); diff != "" {
			t.Errorf("who reads (-acknowledged +heard):\n%s", diff)
		}
		end := alice.Post(t, ops, "end")
		if diff := cmp.Diff(append(want, end.Cursor),
			readOrResume(t, stalled["carol"], n.User("carol"), over, carols, end.Cursor)); diff != "" {
			t.Errorf("who reads again (-acknowledged +heard):\n%s", diff)
		}
		stalled["dave"].Close()
		if diff := cmp.Diff(append(want, end.Cursor),
			nodetest.IDs(n.User("dave").Resume(t, over, "", from).Until(t, end.Cursor))); diff != "" {
			t.Errorf("who resumes (-acknowledged +heard):\n%s", diff)
		}
	})
}

// readOrResume returns the ids of the events after from up to end. If s has taken no byte for
// transport.WriteTimeout, which happens on a slow machine, the server has given it up. Then readOrResume
// resumes once.
func readOrResume(
	t *testing.T, s *nodetest.Stream, u *nodetest.User, over nodetest.Transport, from, end string,
) (ids []string) {
	t.Helper()
	for resumed := false; from != end; {
		f, err := s.Read()
		switch {
		case err != nil && resumed:
			t.Fatal("the next frame:", err)
		case err != nil:
			s = u.Resume(t, over, "", from)
			resumed = true
		case !strings.HasPrefix(f.Event, "stream."):
			from = f.ID
			ids = append(ids, from)
		}
	}
	return ids
}
