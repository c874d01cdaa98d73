package handlers_test

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
)

// Streams that connect while channels come and go: for each of them snapshot plus events is what the server
// says in the end.
func TestSnapshotPlusStreamEqualsTheTruth(t *testing.T) {
	t.Parallel()
	overTransports(t, func(t *testing.T, n *node, over transport) {
		const creators, each, streams = 6, 20, 14
		alice := n.user("alice")
		for i := range 5 {
			alice.general(t, fmt.Sprint("before ", i))
		}
		var done atomic.Int64
		progress := make(chan struct{}) // closed when all creators are done
		var creating, reading sync.WaitGroup
		for c := range creators {
			creating.Go(func() {
				owner := n.user(fmt.Sprint("owner", c))
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
		opened := make([]*stream, streams)
		for i := range streams {
			reading.Go(func() {
				at := int64(rand.IntN(creators * each))
				if !eventually(func() bool { return done.Load() >= at || isClosed(progress) }) {
					t.Error("the creators are stuck")
					return
				}
				s, err := alice.connect(over, "")
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
		alice.general(t, "the end")
		reading.Wait()
		want := map[string]bool{}
		for _, c := range everything[channel](t, alice, "/api/channels?limit=100", "after") {
			want[c.ID] = true
		}
		for i := range streams {
			if opened[i] == nil {
				continue
			}
			opened[i].close()
			if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(folded[i]))); diff != "" {
				t.Errorf("stream %d (-want +got):\n%s", i, diff)
			}
		}
		synced := map[string]bool{}
		for _, c := range alice.sync(t).Channels {
			synced[c.ID] = true
		}
		if diff := cmp.Diff(want, synced); diff != "" {
			t.Errorf("sync (-want +got):\n%s", diff)
		}
	})
}

// comeAndGo creates a channel with alice in it; in some she doesn't stay, and some are archived.
func comeAndGo(owner, alice *user, i int) error {
	c, err := ask[created](owner, 201, "POST", "/api/channels", newChannel{
		GuildID: "g1", Name: fmt.Sprint(owner.id, " ", i), XType: "general", Members: []string{"alice"},
	})
	path := "/api/channels/" + c.Channel.ID
	if err == nil && i%3 == 0 {
		_, err = ask[changed](alice, 200, "POST", path+"/leave", nil)
	}
	if err == nil && i%6 == 0 {
		_, err = ask[changed](alice, 200, "POST", path+"/join", nil)
	}
	if err == nil && i%5 == 0 {
		_, err = ask[created](owner, 200, "DELETE", path, nil)
	}
	return err
}

// fold reads a stream's snapshot and events into the set of open channels, until one of a name is in it. What
// the snapshot holds must not be told of again.
func fold(s *stream, until string) (map[string]bool, error) {
	in := map[string]bool{}
	archived := map[string]bool{}
	var last int64
	for {
		f, err := s.read()
		if err != nil {
			return in, err
		}
		if !strings.HasPrefix(f.event, "stream.") {
			if seq(f.id) <= last {
				return in, fmt.Errorf("got %s after %d, want what is later", f.raw, last)
			}
			last = seq(f.id)
		}
		var ready readyData
		var m membership
		switch f.event {
		case "stream.ready":
			if err := strictly([]byte(f.data), &ready); err != nil {
				return in, err
			}
			last = seq(ready.Cursor)
			for _, c := range *ready.Channels {
				in[c.ID] = true
				if c.Name == until {
					return in, nil
				}
			}
			continue
		default:
			if err := strictly([]byte(f.data), &m); err != nil {
				return in, fmt.Errorf("%w: %s", err, f.raw)
			}
		}
		switch f.event {
		case "channel.joined":
			if in[m.ChannelID] {
				return in, fmt.Errorf("got %s of a channel that was joined before", f.raw)
			}
			if !archived[m.ChannelID] {
				in[m.ChannelID] = true
			}
			if m.Name == until {
				return in, nil
			}
		case "channel.left":
			if !in[m.ChannelID] {
				return in, fmt.Errorf("got %s of a channel that was not joined", f.raw)
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
