package events

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// After a deploy all users come at once. A read of the log loads many of them, and each gets their own.
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
			t.Errorf("got %d users loaded in reads of %v, want each of %d once, in four", total, l.loads, users)
		}
	})
}

// Whoever waits to be loaded is told that the log cannot be read by nothing but heartbeats, and is loaded
// once it can.
func TestLoadingIsTriedAgain(t *testing.T) {
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

// A node that stops does not wait for reads of streams that end anyway.
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
func TestWhoComesBackBeforeBeingLoadedHearsEverythingOnce(t *testing.T) {
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

// While the log can't be read, whoever comes and goes again leaves nothing behind that waits to be loaded.
func TestWhoLeavesIsNotLoaded(t *testing.T) {
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
