package streamtest_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/events/ssetest"
	"fabric-guild/handlers/e2e/nodetest"
)

// Streams that connect while channels come and go: for each of them snapshot plus events is what the server
// says in the end.
func TestSnapshotPlusStreamEqualsTheTruth(t *testing.T) {
	t.Parallel()
	nodetest.OverTransports(t, func(t *testing.T, n *nodetest.Node, over nodetest.Transport) {
		const creators, each, streams = 6, 20, 14
		alice := n.User("alice")
		for i := range 5 {
			alice.General(t, fmt.Sprint("before ", i))
		}
		var done atomic.Int64
		progress := make(chan struct{}) // closed when all creators are done
		var creating, reading sync.WaitGroup
		for c := range creators {
			creating.Go(func() {
				owner := n.User(fmt.Sprint("owner", c))
				for i := range each {
					if err := comeAndGo(owner, alice, i); err != nil {
						t.Error(err)
						return
					}
					done.Add(1)
				}
			})
		}
		folded := make([]map[string]bool, streams)
		opened := make([]*nodetest.Stream, streams)
		for i := range streams {
			reading.Go(func() {
				at := int64(rand.IntN(creators * each))
				if !ssetest.Await(func() bool { return done.Load() >= at || isClosed(progress) }) {
					t.Error("the creators are stuck")
					return
				}
				s, err := alice.Connect(over, "")
				if err == nil {
					opened[i] = s
					folded[i], err = fold(s, "the end")
				}
				if err != nil {
					t.Errorf("stream %d: %v", i, err)
				}
			})
		}
		creating.Wait()
		close(progress)
		// Only those that are open by now must see the end come; the others find it in their snapshots.
		alice.General(t, "the end")
		reading.Wait()
		want := map[string]bool{}
		for _, c := range nodetest.Everything[nodetest.Channel](t, alice, "/api/channels?limit=100",
			"after") {
			want[c.ID] = true
		}
		for i := range streams {
			if opened[i] == nil {
				continue
			}
			opened[i].Close()
			if diff := cmp.Diff(slices.Sorted(maps.Keys(want)),
				slices.Sorted(maps.Keys(folded[i]))); diff != "" {
				t.Errorf("stream %d (-want +got):\n%s", i, diff)
			}
		}
		synced := map[string]bool{}
		for _, c := range alice.Sync(t).Channels {
			synced[c.ID] = true
		}
		if diff := cmp.Diff(want, synced); diff != "" {
			t.Errorf("sync (-want +got):\n%s", diff)
		}
	})
}

// comeAndGo creates a channel with alice in it; in some she doesn't stay, and some are archived.
func comeAndGo(owner, alice *nodetest.User, i int) error {
	c, err := nodetest.Ask[nodetest.Created](owner, 201, "POST", "/api/channels", nodetest.NewChannel{
		GuildID: "g1", Name: fmt.Sprint(owner.ID, " ", i), XType: "general", Members: []string{"alice"},
	})
	path := "/api/channels/" + c.Channel.ID
	if err == nil && i%3 == 0 {
		_, err = nodetest.Ask[nodetest.Changed](alice, 200, "POST", path+"/leave", nil)
	}
	if err == nil && i%6 == 0 {
		_, err = nodetest.Ask[nodetest.Changed](alice, 200, "POST", path+"/join", nil)
	}
	if err == nil && i%5 == 0 {
		_, err = nodetest.Ask[nodetest.Created](owner, 200, "DELETE", path, nil)
	}
	return err
}

// fold reads a stream's snapshot and events into the set of open channels, until one of a name is in it. What
// the snapshot holds must not be told of again.
func fold(s *nodetest.Stream, until string) (map[string]bool, error) {
	in := map[string]bool{}
	archived := map[string]bool{}
	var last int64
	for {
		f, err := s.Read()
		if err != nil {
			return in, err
		}
		if !strings.HasPrefix(f.Event, "stream.") {
			if nodetest.Seq(f.ID) <= last {
				return in, fmt.Errorf("got %s after %d, want what is later", f.Raw, last)
			}
			last = nodetest.Seq(f.ID)
		}
		var ready nodetest.ReadyData
		var m nodetest.Membership
		switch f.Event {
		case "stream.ready":
			if err := nodetest.Strictly([]byte(f.Data), &ready); err != nil {
				return in, err
			}
			last = nodetest.Seq(ready.Cursor)
			for _, c := range *ready.Channels {
				in[c.ID] = true
				if c.Name == until {
					return in, nil
				}
			}
			continue
		case "stream.cursor":
			continue
		default:
			if err := nodetest.Strictly([]byte(f.Data), &m); err != nil {
				return in, fmt.Errorf("%w: %s", err, f.Raw)
			}
		}
		switch f.Event {
		case "channel.joined":
			if in[m.ChannelID] {
				return in, fmt.Errorf("got %s of a channel that was joined before", f.Raw)
			}
			if !archived[m.ChannelID] {
				in[m.ChannelID] = true
			}
			if m.Name == until {
				return in, nil
			}
		case "channel.left":
			if !in[m.ChannelID] {
				return in, fmt.Errorf("got %s of a channel that was not joined", f.Raw)
			}
			delete(in, m.ChannelID)
		case "channel.archived":
			archived[m.ChannelID] = true
			delete(in, m.ChannelID)
		}
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
