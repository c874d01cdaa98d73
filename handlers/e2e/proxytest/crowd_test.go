package proxytest

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"fabric-guild/handlers/e2e/guildtest"
)

// A crowd has many streams of one channel, and the posts in that channel. The streams reconnect when they
// end. To save memory, a crowd keeps only ids.
type crowd struct {
	t       *testing.T
	base    string
	client  *http.Client
	alice   string // token of alice, who posts
	channel string
	streams []*follower
	done    sync.WaitGroup

	mu      sync.Mutex
	posted  map[string]bool // ids of acknowledged posts
	unknown int             // posts that may be stored or not
}

// A follower is one stream of a crowd.
type follower struct {
	user, token string

	mu     sync.Mutex
	cursor string
	heard  []string // ids of messages
	begun  int      // number of streams so far
	faults []string
}

// gather makes a channel with this number of users at one server. Then each user opens this number of streams
// at base. gather blocks until all streams have begun.
func gather(t *testing.T, n *guildtest.Node, base string, users, each int) *crowd {
	t.Helper()
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 16}
	c := &crowd{t: t, base: base, posted: map[string]bool{}, client: &http.Client{Transport: transport}}
	members := make([]string, users)
	for i := range members {
		members[i] = fmt.Sprint("user", i)
	}
	tokens := n.Tokens(append([]string{"alice"}, members...)...)
	c.alice = tokens[0]
	var made struct{ Channel struct{ ID string } }
	status, err := guildtest.Call(t.Context(), http.MethodPost, n.Base()+"/api/channels", c.alice,
		map[string]any{"guildId": "g1", "name": "crowd", "xType": "general", "memberUserIds": members}, &made)
	if err != nil || status != http.StatusCreated {
		t.Fatalf("got %d and %v for a channel, want 201", status, err)
	}
	c.channel = made.Channel.ID
	t.Cleanup(c.done.Wait)
	for range each {
		for i, user := range members {
			f := &follower{user: user, token: tokens[i+1]}
			c.streams = append(c.streams, f)
			c.done.Go(func() { c.follow(f) })
		}
	}
	c.await("each user has a stream", func(f *follower) bool { return f.begun > 0 })
	return c
}

// await blocks until a condition holds for every stream.
func (c *crowd) await(what string, condition func(*follower) bool) {
	c.t.Helper()
	guildtest.Eventually(c.t, what, guildtest.Patience, func() bool {
		return !slices.ContainsFunc(c.streams, func(f *follower) bool {
			f.mu.Lock()
			defer f.mu.Unlock()
			return !condition(f)
		})
	})
}

// follow keeps a stream open until the test ends.
func (c *crowd) follow(f *follower) {
	ctx := c.t.Context()
	for ctx.Err() == nil {
		c.connect(ctx, f)
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// connect opens a stream and blocks until it ends.
func (c *crowd) connect(ctx context.Context, f *follower) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/api/stream", nil)
	if err != nil {
		return
	}
	r.Header.Set("Authorization", "Bearer "+f.token)
	if f.cursor != "" {
		r.Header.Set("Last-Event-ID", f.cursor)
	}
	answer, err := c.client.Do(r)
	if err != nil {
		return
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		if answer.StatusCode < http.StatusBadGateway {
			f.fault(fmt.Sprintf("got %d for a stream, want 200, or 502 and above from a proxy "+
				"without a server",
				answer.StatusCode))
		}
		return
	}
	in := bufio.NewScanner(answer.Body)
	event := ""
	for in.Scan() {
		switch name, value, _ := strings.Cut(in.Text(), ": "); name {
		case "event":
			event = value
		case "id":
			f.take(event, value)
		}
	}
}

func (f *follower) take(event, id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch event {
	case "message.created":
		f.heard = append(f.heard, id)
	case "stream.ready":
		f.begun++
	case "stream.reset":
		f.faults = append(f.faults, "got a reset")
	}
	f.cursor = id
}

func (f *follower) hears(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Contains(f.heard, id)
}

func (f *follower) fault(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = append(f.faults, what)
}

// post starts writers, which post this number of messages in all, and blocks until they are done. A writer
// posts its next message when a stream has got its last one.
func (c *crowd) post(writers, messages int) {
	c.t.Helper()
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range messages / writers {
				var answer struct{ Cursor string }
				body := map[string]any{"content": fmt.Sprint(w, " says ", i)}
				url := c.base + "/api/channels/" + c.channel + "/messages"
				status, err := guildtest.Call(c.t.Context(), http.MethodPost, url, c.alice, body, &answer)
				c.mu.Lock()
				if err == nil && status == http.StatusCreated {
					c.posted[answer.Cursor] = true
				} else {
					c.unknown++
				}
				c.mu.Unlock()
				if c.t.Context().Err() != nil {
					return
				}
				f := c.streams[(w*messages+i)%len(c.streams)]
				for late := time.After(guildtest.Patience); answer.Cursor != "" && !f.hears(answer.Cursor); {
					select {
					case <-time.After(5 * time.Millisecond):
					case <-late:
						c.t.Errorf("%s did not get %s in time", f.user, answer.Cursor)
						return
					}
				}
			}
		})
	}
	all.Wait()
}

// begun returns how many streams have begun so far.
func (c *crowd) begun() (n int) {
	for _, f := range c.streams {
		f.mu.Lock()
		n += f.begun
		f.mu.Unlock()
	}
	return n
}

// acknowledged returns the number of acknowledged posts.
func (c *crowd) acknowledged() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.posted)
}

// verify compares the messages of every stream with the acknowledged posts. Every stream must have got all of
// them, once and in the order of the event log. All streams must have got the same messages.
func (c *crowd) verify() {
	c.t.Helper()
	last := ""
	for id := range c.posted {
		if number(id) > number(last) {
			last = id
		}
	}
	c.await("the last message", func(f *follower) bool { return number(f.cursor) >= number(last) })
	want := c.streams[0].heard
	if got := len(want); got < len(c.posted) || got > len(c.posted)+c.unknown {
		c.t.Errorf("got %d messages, want the %d acknowledged ones, and at most %d others", got,
			len(c.posted), c.unknown)
	}
	for id := range c.posted {
		if !slices.Contains(want, id) {
			c.t.Errorf("message %s is missing, although it was acknowledged", id)
		}
	}
	for i := 1; i < len(want); i++ {
		if number(want[i-1]) >= number(want[i]) {
			c.t.Errorf("got %s after %s, want each message once, in the order of the event log",
				want[i], want[i-1])
		}
	}
	for i, f := range c.streams {
		for _, fault := range f.faults {
			c.t.Errorf("%s: %s", f.user, fault)
		}
		if !slices.Equal(f.heard, want) {
			c.t.Errorf("stream %d of %s: got %d messages, want the same %d as the first stream",
				i, f.user, len(f.heard), len(want))
		}
	}
	c.t.Logf("%d streams, %d posts acknowledged, %d unknown", len(c.streams), len(c.posted), c.unknown)
}

// number returns the number in an id.
func number(id string) int {
	_, after, _ := strings.Cut(id, ".")
	n, _ := strconv.Atoi(after)
	return n
}
