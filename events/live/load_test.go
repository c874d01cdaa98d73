package live

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fabric-guild/events"
)

// After a deploy all users connect at once. One read of the event log loads many users, and each gets their
// own memberships.
func TestUsersAreLoadedTogether(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const users = 600
		l := newMemLog()
		for i := range users {
			l.create(channelNamed(i), fmt.Sprint("u", i))
		}
		n := newNode(t, l)
		stall := make(chan struct{})
		l.set(func() { l.stall = stall })
		var clients []*client
		for i := range users {
			clients = append(clients, n.open(t, Options{User: fmt.Sprint("u", i)}))
			if i == 0 {
				synctest.Wait() // the first is under way
			}
		}
		synctest.Wait()
		l.set(func() { l.stall = nil })
		close(stall)
		for i, c := range clients {
			c.expect(got{event: "stream.ready", data: channelNamed(i).String()})
		}
		for i, c := range clients {
			at := l.post(channelNamed(i), "someone", "hi")
			c.expect(got{event: "message.created", id: at.String()})
		}
		total := 0
		for _, n := range l.loads {
			if total += n; n > loadUsers {
				t.Errorf("got a read for %d users, want %d at most", n, loadUsers)
			}
		}
		if total != users || len(l.loads) > 4 {
			t.Errorf("got %d users loaded in reads of %v, want each of %d once, in four", total,
				l.loads, users)
		}
	})
}

// While the event log cannot be read, a stream that waits to be loaded gets only heartbeats. It is loaded
// once the event log can be read.
func TestLoadingIsRetried(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		l.create(ops, "ann", "bob")
		n := newNode(t, l)
		l.set(func() { l.down = true })
		ann, bob := n.open(t, Options{User: "ann"}), n.open(t, Options{User: "bob"})
		for range 2 {
			ann.expect(got{comment: "hb"})
			bob.expect(got{comment: "hb"})
		}
		l.set(func() { l.down = false })
		ann.expect(got{event: "stream.ready", data: ops.String()})
		bob.expect(got{event: "stream.ready", data: ops.String()})
	})
}

// A server that stops does not wait for reads of streams that end anyway.
func TestClosingDoesNotWaitForTheLoader(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		l.create(ops, "ann", "bob")
		n := newNode(t, l)
		l.set(func() { l.stall = make(chan struct{}) })
		ann := n.open(t, Options{User: "ann"})
		synctest.Wait()
		bob := n.open(t, Options{User: "bob"})
		synctest.Wait()
		start := time.Now()
		go func() {
			ann.expect(got{event: "stream.closing", data: "drain"})
			bob.expect(got{event: "stream.closing", data: "drain"})
		}()
		n.Close(t.Context())
		if waited := time.Since(start); waited > 0 {
			t.Errorf("got %v of waiting, want none", waited)
		}
	})
}

// A user who leaves and comes back while others are loaded is loaded once, and hears everything once.
func TestAUserWhoRejoinsDuringTheLoadHearsEverythingOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		l.create(ops, "ann", "bob")
		n := newNode(t, l)
		stall := make(chan struct{})
		l.set(func() { l.stall = stall })
		n.open(t, Options{User: "ann"})
		synctest.Wait() // she is being loaded, whoever comes now waits
		first := n.open(t, Options{User: "bob"})
		synctest.Wait()
		first.s.Abort()
		synctest.Wait()
		second := n.open(t, Options{User: "bob"})
		synctest.Wait()
		l.set(func() { l.stall = nil })
		close(stall)
		second.expect(got{event: "stream.ready"})
		for range 3 {
			second.expect(got{event: "message.created", id: l.post(ops, "ann", "hi").String()})
		}
	})
}

// A user who connects and disconnects while the event log cannot be read leaves no load behind.
func TestAUserWhoDisconnectsIsNotLoaded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const users = 600
		l := newMemLog()
		l.create(ops, "ann")
		n := newNode(t, l)
		stall := make(chan struct{})
		l.set(func() { l.stall = stall })
		n.open(t, Options{User: "first"}) // its read is under way
		synctest.Wait()
		for i := range users {
			c := n.open(t, Options{User: fmt.Sprint("u", i)})
			synctest.Wait()
			_ = c.conn.Close()
			synctest.Wait()
		}
		n.mu.Lock()
		waiting := len(n.loads)
		n.mu.Unlock()
		if waiting != 0 {
			t.Errorf("got %d users that wait to be loaded, want none: they have left", waiting)
		}
		ann := n.open(t, Options{User: "ann"})
		l.set(func() { l.stall = nil })
		close(stall)
		ann.expect(got{event: "stream.ready", data: ops.String()})
	})
}

// A user whose memberships cannot be read does not delay others. From the second try on the user is loaded
// alone, with backoff, and the log names the user.
func TestAUserWhoCanNotBeLoadedKeepsNobodyWaiting(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		l.create(ops, "ann", "eve")
		n := newNode(t, l)
		var lines bytes.Buffer
		n.Logger = slog.New(slog.NewTextHandler(&lines, nil))
		l.set(func() { l.poison = "eve" })
		stall := make(chan struct{})
		l.set(func() { l.stall = stall })
		eve := n.open(t, Options{User: "eve"})
		synctest.Wait() // she is being loaded
		eve2, ann := n.open(t, Options{User: "eve"}), n.open(t, Options{User: "ann"})
		synctest.Wait()
		l.set(func() { l.stall = nil })
		close(stall)
		ann.expect(got{event: "stream.ready", data: ops.String()})
		late := n.open(t, Options{User: "ben"})
		late.expect(got{event: "stream.ready"})
		for range 5 {
			eve.expect(got{comment: "hb"})
			eve2.expect(got{comment: "hb"})
		}
		l.mu.Lock()
		failed := l.failed
		l.poison = ""
		l.mu.Unlock()
		if tries := 1 + 4 + int((75*time.Second)/soloRetryMax); len(failed) < 5 || len(failed) > tries {
			t.Errorf("got %d tries in 75 s, want 5 to %d", len(failed), tries)
		}
		n.mu.Lock()
		log := lines.String()
		n.mu.Unlock()
		if got := strings.Count(log, "user=eve"); got < 2 || got > 8 {
			t.Errorf("got %d lines about eve, want one in %v:\n%s", got, loadLogInterval, log)
		}
		for _, c := range []*client{eve, eve2} {
			c.expect(got{event: "stream.ready", data: ops.String()})
		}
	})
}

// When a batch fails, its users are loaded one by one, so that one of them does not fail all of them again.
func TestABatchThatFailsIsLoadedOneByOne(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		names := []string{"u0", "u1", "u2", "u3", "u4", "eve"}
		l.create(ops, names...)
		n := newNode(t, l)
		stall := make(chan struct{})
		l.set(func() { l.stall, l.poison = stall, "eve" })
		n.open(t, Options{User: "first"})
		synctest.Wait() // is being loaded, whoever comes now is loaded together
		var clients []*client
		for _, name := range names {
			clients = append(clients, n.open(t, Options{User: name}))
		}
		synctest.Wait()
		l.set(func() { l.stall = nil })
		close(stall)
		for _, c := range clients[:5] {
			c.expect(got{event: "stream.ready", data: ops.String()})
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		for i, n := range l.failed {
			if want := map[bool]int{true: len(names), false: 1}[i == 0]; n != want {
				t.Errorf("got reads of %v users that failed, want all of them at first, and then one",
					l.failed)
			}
		}
	})
}

// A user of many channels is loaded page by page, and so is each snapshot: no read returns more than a page.
// A stream shows a channel that the user leaves between two pages once, and the leave once.
func TestAUserOfManyChannelsIsReadInPages(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const channels = 2*soloRows + 50
		l := newMemLog()
		var at events.Cursor
		for i := range channels {
			at = l.create(channelNamed(i), "alice", "bob")
		}
		n := newNode(t, l)
		solo, pages := 0, 0
		var left events.Cursor
		l.paging = func(users []string, from events.Place) {
			switch n.mu.Lock(); {
			case n.users["alice"].state == loading:
				solo++
			default:
				if pages++; pages == 3 {
					defer func() { // one that was read, one that was not, while the snapshot is under way
						l.leave(channelNamed(1), "alice")
						left = l.leave(channelNamed(channels-1), "alice")
					}()
				}
			}
			n.mu.Unlock()
		}
		c := n.open(t, Options{User: "alice"})
		seen := map[string]int{}
		frames := 0
		for f := c.expect(got{event: "stream.ready"}); ; f = c.expect(got{event: "stream.channels"}) {
			var part struct{ Channels []events.Channel }
			if err := json.Unmarshal([]byte(f.data), &part); err != nil {
				t.Fatal(err)
			}
			for _, c := range part.Channels {
				seen[c.ID.String()]++
			}
			if frames++; f.id != "" {
				if f.id != at.String() {
					t.Errorf("got the id %s, want %v", f.id, at)
				}
				break
			}
		}
		for i := range channels {
			if got := seen[channelNamed(i).String()]; got != 1 {
				t.Errorf("channel %d is %d times in the snapshot, want once", i, got)
			}
		}
		if want := (channels + snapshotFrame - 1) / snapshotFrame; frames != want {
			t.Errorf("got %d frames, want %d", frames, want)
		}
		if solo != 1+3 || pages != channels/snapshotRows+1 {
			t.Errorf("got %d reads to load her and %d for her snapshot, want 4 and %d", solo, pages,
				channels/snapshotRows+1)
		}
		c.expect(got{event: "channel.left", data: channelNamed(1).String()})
		c.expect(got{event: "channel.left", data: channelNamed(channels - 1).String(), id: left.String()})
		post := l.post(channelNamed(channels-2), "bob", "hi")
		c.expect(got{event: "message.created", id: post.String()})
	})
}
