package clienttest

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers/e2e/guildtest"
)

// A follower is a running client.
type follower struct {
	client
	*cutter // in front of the server

	mu    sync.Mutex
	heard []event
}

func (f *follower) hear(e event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.heard = append(f.heard, e)
}

// has reports whether the client got an event of this kind whose data contains content.
func (f *follower) has(kind, content string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.ContainsFunc(f.heard, func(e event) bool {
		return e.Event == kind && strings.Contains(string(e.Data), content)
	})
}

// messages returns the contents of all messages in order.
func (f *follower) messages(t *testing.T) (contents []string) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.heard {
		if e.Event != "message.created" {
			continue
		}
		var m struct{ Content string }
		if err := json.Unmarshal(e.Data, &m); err != nil {
			t.Errorf("got %v in %q", err, e.Data)
		}
		contents = append(contents, m.Content)
	}
	return contents
}

// count returns how many events of this kind the client got.
func (f *follower) count(kind string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.heard {
		if e.Event == kind {
			n++
		}
	}
	return n
}

type followers []*follower

// follow starts all clients, each with its own cutter, and blocks until each has a stream.
func follow(t *testing.T, n *guildtest.Node, clients []client) (all followers) {
	t.Helper()
	tokens := n.Tokens("bob", "carol", "dave", "erin") // several users, because a user has at most 16 streams
	seed := rand.Uint64()
	t.Logf("the seed of the cuts is %d", seed)
	for i, c := range clients {
		f := &follower{client: c, cutter: newCutter(t, n.Addr(), seed+uint64(i))}
		c.follow(t, "http://"+f.Addr().String()+"/api/stream", tokens[i%len(tokens)], f.hear)
		all = append(all, f)
	}
	all.await(t, "a stream", func(f *follower) bool { return f.has("stream.ready", "") })
	return all
}

// await blocks until a condition holds for every client.
func (all followers) await(t *testing.T, what string, condition func(*follower) bool) {
	t.Helper()
	for _, f := range all {
		guildtest.Eventually(t, f.name+" waits for "+what, guildtest.Patience,
			func() bool { return condition(f) })
	}
}

// cut makes these cuts in the connections of each client, in random order, and blocks until all cuts are
// made.
func (all followers) cut(t *testing.T, cuts ...cut) {
	t.Helper()
	for _, f := range all {
		f.give(slices.Clone(cuts)...)
	}
	all.await(t, "connections that end", func(f *follower) bool { return f.left() == 0 })
}

// Every client gets every message once and in order, while its connections end in all possible ways. The
// first server uses its own transport and is killed. The next server uses the transport of r3labs/sse. The
// last server has another database, which does not know the clients' cursors.
func TestEveryClientHearsEachMessageOnce(t *testing.T) {
	t.Parallel()
	need(t)
	state := guildtest.StateDir(t)
	url := dbtest.New(t)
	n := program.Start(t, state, "-database-url", url)
	addr := n.Addr()
	p := newPoster(t, n)
	all := follow(t, n, clients)

	stop := p.start()
	all.cut(t, inData, beforeID, inID, beforeLast, afterFrame, anywhere, lost)
	n.Kill()
	n = program.Start(t, state, "-database-url", url, "-addr", addr, "-transport", "r3labs")
	all.cut(t, inData, beforeID, badGateway, lost)
	final := stop()
	all.await(t, "the last message", func(f *follower) bool { return f.has("message.created", final) })

	n.Stop()
	n = program.Start(t, state, "-database-url", dbtest.New(t), "-addr", addr)
	p.load = guildtest.NewLoad(t, n)
	all.await(t, "a reset", func(f *follower) bool {
		return f.has("stream.reset", `"reason":"unknown_epoch"`) && f.has("stream.reset", `"channels":[`)
	})
	stop = p.start()
	all.cut(t, beforeID, lost)
	final = stop()
	all.await(t, "the last message", func(f *follower) bool { return f.has("message.created", final) })

	for _, f := range all {
		t.Run(f.name, func(t *testing.T) {
			got := f.messages(t)
			if want := p.want(got); !slices.Equal(got, want) {
				t.Errorf("messages (-posted +got):\n%s", cmp.Diff(want, got))
			}
			if got := f.count("stream.reset"); got != 1 {
				t.Errorf("got %d resets, want only the reset of the new database", got)
			}
		})
	}
}
