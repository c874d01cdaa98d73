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
	"fabric-guild/handlers/guildtest"
)

// A follower is a client at work.
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

// has reports whether such an event has come; contents are part of the data.
func (f *follower) has(kind, content string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.ContainsFunc(f.heard, func(e event) bool { return e.Event == kind && strings.Contains(string(e.Data), content) })
}

// messages are the contents that have come, in order.
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

// count is how often such an event has come.
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

// follow has each client follow the stream of a user, through a cutter of its own.
func follow(t *testing.T, n *guildtest.Node, clients []client) (all followers) {
	t.Helper()
	tokens := n.Tokens("bob", "carol", "dave", "erin") // a user has 16 streams at most
	seed := rand.Uint64()
	t.Logf("the cuts are those of seed %d", seed)
	for i, c := range clients {
		f := &follower{client: c, cutter: newCutter(t, n.Addr(), seed+uint64(i))}
		c.follow(t, "http://"+f.Addr().String()+"/api/stream", tokens[i%len(tokens)], f.hear)
		all = append(all, f)
	}
	all.await(t, "a stream", func(f *follower) bool { return f.has("stream.ready", "") })
	return all
}

// await waits until a condition holds for every client.
func (all followers) await(t *testing.T, what string, condition func(*follower) bool) {
	t.Helper()
	for _, f := range all {
		guildtest.Eventually(t, f.name+" waits for "+what, guildtest.Patience, func() bool { return condition(f) })
	}
}

// cut has the connections of each client end so, in an order of its own, and waits until all of them have.
func (all followers) cut(t *testing.T, cuts ...cut) {
	t.Helper()
	for _, f := range all {
		f.give(slices.Clone(cuts)...)
	}
	all.await(t, "connections that end", func(f *follower) bool { return f.left() == 0 })
}

// Every client hears every message once, in order, while its connections end in all the ways that there are:
// at a server that writes to the connections itself; while that is killed; at the next one, which writes by
// r3labs/sse; and then the database is another one, which knows nothing of the clients' cursors.
func TestEveryClientHearsEachMessageOnce(t *testing.T) {
	t.Parallel()
	need(t)
	state, url := guildtest.StateDir(t), dbtest.New(t)
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
				t.Errorf("the messages (-posted +heard):\n%s", cmp.Diff(want, got))
			}
			if got := f.count("stream.reset"); got != 1 {
				t.Errorf("got %d resets, want the one of the new database", got)
			}
		})
	}
}
