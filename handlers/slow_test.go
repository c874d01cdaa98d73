package handlers_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A reader that takes no bytes holds up nobody: all posts are acknowledged and heard by another while it has
// read nothing. Its queue overflows; it then gets everything, on the same connection, or after a resume.
func TestAReaderThatTakesNoBytesHoldsUpNobody(t *testing.T) {
	long(t)
	t.Parallel()
	for _, over := range transports {
		t.Run(over.name, func(t *testing.T) {
			t.Parallel()
			// Together far more than a queue and a batch of 1 MiB each and the sockets' buffers hold.
			const posters, each, size = 6, 80, 8000
			n := start(t, setup{r3labs: over.r3labs, tls: over.tls, sendBuffer: 128 << 10})
			alice := n.user("alice")
			ops := alice.general(t, "ops", "bob", "carol", "dave").Channel.ID
			for i := range posters {
				alice.add(t, ops, fmt.Sprint("poster", i))
			}
			bob, _ := n.user("bob").fresh(t, over, "")
			stalled := map[string]*stream{}
			for _, id := range []string{"carol", "dave"} {
				l := newLine(over, 128<<10)
				t.Cleanup(l.hangUp)
				s, err := n.user(id).dial(l, "")
				if err == nil {
					err = s.begin()
				}
				if err != nil {
					t.Fatal(err)
				}
				stalled[id] = s
			}
			from := data[readyData](t, stalled["dave"].next(t), "stream.ready").Cursor // the last that dave reads
			data[readyData](t, stalled["carol"].next(t), "stream.ready")

			acknowledged := make([][]string, posters)
			var posting sync.WaitGroup
			for i := range posters {
				posting.Go(func() {
					u := n.user(fmt.Sprint("poster", i))
					for range each {
						p, err := ask[posted](u, 201, "POST", "/api/channels/"+ops+"/messages", body{"content": strings.Repeat("x", size)})
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
				heard = append(heard, bob.next(t).id)
			}
			posting.Wait()
			want := slices.SortedFunc(slices.Values(slices.Concat(acknowledged...)), bySeq)
			if diff := cmp.Diff(want, heard); diff != "" {
				t.Errorf("who reads (-acknowledged +heard):\n%s", diff)
			}
			end := alice.post(t, ops, "end")
			if diff := cmp.Diff(append(want, end.Cursor), ids(stalled["carol"].until(t, end.Cursor))); diff != "" {
				t.Errorf("who reads again (-acknowledged +heard):\n%s", diff)
			}
			stalled["dave"].close()
			if diff := cmp.Diff(append(want, end.Cursor), ids(n.user("dave").resume(t, over, "", from).until(t, end.Cursor))); diff != "" {
				t.Errorf("who resumes (-acknowledged +heard):\n%s", diff)
			}
		})
	}
}
