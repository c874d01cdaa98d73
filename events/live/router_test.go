package live

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"fabric-guild/events"
)

// Membership events that come while a user's intervals are being loaded are applied after the load.
func TestMembershipChangesWhileLoading(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		other := channelNamed(2)
		l.create(ops, "alice", "bob")
		from := l.create(other, "alice")
		n := newNode(t, l)
		stall := make(chan struct{})
		l.set(func() { l.stall = stall })
		c := n.open(t, Options{User: "bob", Resume: &from})
		synctest.Wait() // it waits for its snapshot
		want := []events.Cursor{l.leave(ops, "bob")}
		l.post(ops, "alice", "after the leave")
		want = append(want, l.join(other, "bob"), l.post(other, "alice", "after the join"))
		synctest.Wait()
		l.set(func() { l.stall = nil })
		close(stall)
		c.expect(got{event: "stream.ready", id: from.String()})
		for i, event := range []string{"channel.left", "channel.joined", "message.created"} {
			c.expect(got{event: event, id: want[i].String()})
		}
		c.expect(got{event: "stream.live"})
		l.post(ops, "alice", "not for bob")
		c.expect(got{event: "message.created", id: l.post(other, "alice", "for bob").String()})
	})
}

// The streams of a user wait for the stream that started the load. They take over if it ends.
func TestLoadingIsTakenOver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		from := l.create(ops, "alice", "bob")
		n := newNode(t, l)
		stall := make(chan struct{})
		l.set(func() { l.stall = stall })
		first := n.open(t, Options{User: "bob", Resume: &from})
		synctest.Wait()
		second := n.open(t, Options{User: "bob", Resume: &from})
		synctest.Wait()
		first.s.Abort()
		synctest.Wait()
		l.set(func() { l.stall = nil })
		close(stall)
		second.expect(got{event: "stream.ready"})
		second.expect(got{event: "stream.live"})
		second.expect(got{event: "message.created", id: l.post(ops, "alice", "hi").String()})
	})
}

// A restart of the database loses nothing: streams continue, with the new epoch in their ids.
func TestARestartedDatabaseDoesNotDisturbStreams(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		at := l.create(ops, "alice", "bob")
		n := newNode(t, l)
		c := n.open(t, Options{User: "bob"})
		c.expect(got{event: "stream.ready", id: at.String()})
		l.set(func() { l.epoch, l.base = 8, at.Seq })
		next := l.post(ops, "alice", "in the new epoch")
		c.expect(got{event: "message.created", id: fmt.Sprintf("8.%d", at.Seq+1)})
		if next.Epoch != 8 {
			t.Errorf("got %v", next)
		}
	})
}

// A failover to a copy that lacks the latest events ends the streams. When they reconnect they are reset.
func TestALostTailEndsStreams(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		kept := l.create(ops, "alice", "bob")
		n := newNode(t, l)
		c := n.open(t, Options{User: "bob"})
		c.expect(got{event: "stream.ready"})
		lost := l.post(ops, "alice", "lost")
		c.expect(got{event: "message.created", id: lost.String()})
		l.set(func() { l.events, l.epoch, l.base = l.events[:1], 8, kept.Seq })
		other := l.post(ops, "alice", "took its number")
		c.expect(got{event: "stream.closing", data: `{"reason":"reset","reconnect":true}`})
		c.expectEnd()
		fresh := n.open(t, Options{User: "bob", Resume: &lost})
		fresh.expect(got{event: "stream.reset", id: other.String(), data: `"reason":"lost_tail"`})
		fresh.expect(got{event: "message.created", id: l.post(ops, "alice", "on").String()})
	})
}

// A page of another epoch is not shown before the tailer knows what was lost.
func TestCatchingUpDoesNotRunIntoAnotherEpoch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		from := l.create(ops, "alice", "bob")
		l.post(ops, "alice", "lost")
		n := newNode(t, l)
		l.set(func() {
			l.blind = true
			l.events, l.epoch, l.base = l.events[:1], 8, from.Seq
		})
		l.post(ops, "alice", "took its number")
		c := n.open(t, Options{User: "bob", Resume: &from})
		c.expect(got{comment: "hb"})
		l.set(func() { l.blind = false })
		c.expect(got{event: "stream.closing", data: `"reconnect":true`})
		c.expectEnd()
	})
}

// LOG rule 14: a stream that another server had served beyond this server's position is reset as well.
func TestALostTailEndsStreamsThatAreAheadOfThisNode(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		l.create(ops, "alice", "bob")
		n := newNode(t, l)
		l.set(func() { l.blind = true })
		kept := l.post(ops, "alice", "kept")
		l.post(ops, "alice", "lost")
		ahead := l.post(ops, "alice", "lost too")
		c := n.open(t, Options{User: "bob", Resume: &ahead})
		c.expect(got{event: "stream.ready"})
		c.expect(got{event: "stream.live"})
		l.set(func() { l.events, l.epoch, l.base, l.blind = l.events[:2], 8, kept.Seq, false })
		l.post(ops, "alice", "took its number")
		c.expect(got{event: "stream.closing", data: `{"reason":"reset","reconnect":true}`})
		c.expectEnd()
	})
}

// A cursor that was checked in an epoch which has ended meanwhile is checked again.
func TestOpenChecksACursorInTheRoutersEpoch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		from := l.create(ops, "alice", "bob")
		n := newNode(t, l)
		var checked []int64
		changes := 1
		l.checked = func(position events.Cursor) {
			checked = append(checked, position.Epoch)
			if changes > 0 {
				changes--
				l.set(func() { l.epoch, l.base = l.epoch+1, l.last() })
				l.post(ops, "alice", "in a new epoch")
				time.Sleep(time.Second) // of the fake clock: the router reads it
			}
		}
		s, err := n.Open(t.Context(), Options{User: "bob", Resume: &from})
		if err != nil || !slices.Equal(checked, []int64{7, 8}) {
			t.Fatalf("got %v and checks in the epochs %v, want one in 7, and one in 8", err, checked)
		}
		s.Abort()
		checked, changes = nil, cursorChecks
		if _, err := n.Open(t.Context(), Options{User: "bob", Resume: &from}); !errors.Is(err, ErrUnread) {
			t.Errorf("a database that keeps changing: got %v, want %v", err, ErrUnread)
		}
		if want := []int64{8, 9, 10}; !slices.Equal(checked, want) {
			t.Errorf("got checks in the epochs %v, want %v", checked, want)
		}
	})
}

// LOG rule 12: a snapshot is as of the cursor with which it is sent.
func TestASnapshotAheadOfThisNodeWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		l.create(ops, "alice")
		n := newNode(t, l)
		l.set(func() { l.blind = true })
		ahead := l.join(ops, "bob")
		c := n.open(t, Options{User: "bob", Resume: &ahead, Snapshot: true})
		c.expect(got{comment: "hb"})
		l.set(func() { l.blind = false })
		c.expect(got{event: "stream.ready", id: ahead.String(), data: `"channels":[{"id":"` + ops.String()})
		c.expect(got{event: "stream.live", id: ahead.String()})
	})
}

// LOG rule 9: a cursor beyond this server's position comes from another server. The stream waits.
func TestACursorAheadOfThisNodeWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		l.create(ops, "alice", "bob")
		n := newNode(t, l)
		l.set(func() { l.blind = true })
		ahead := l.post(ops, "alice", "seen on another node")
		next := l.post(ops, "alice", "new to everyone")
		c := n.open(t, Options{User: "bob", Resume: &ahead})
		c.expect(got{event: "stream.ready", id: ahead.String()})
		c.expect(got{event: "stream.live", id: ahead.String()})
		l.set(func() { l.blind = false })
		c.expect(got{event: "message.created", id: next.String()})
	})
}

// A client that is ahead of this server, in an epoch that this server does not know yet, keeps its cursor:
// nobody has ever seen its number with this server's epoch.
func TestACursorOfANewerEpochIsKept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		ops := channelNamed(1)
		l.create(ops, "alice", "bob")
		l.post(ops, "alice", "before")
		n := newNode(t, l)
		base := l.last()
		l.set(func() { l.blind, l.epoch, l.base = true, l.epoch+1, base })
		l.post(ops, "alice", "in the new life")
		ahead := l.post(ops, "alice", "and more")
		c := n.open(t, Options{User: "bob", Resume: &ahead})
		c.expect(got{event: "stream.ready", id: ahead.String()})
		c.expect(got{event: "stream.live", id: ahead.String()})
	})
}

// Users, channels and connections come and go at random. Each user hears exactly what the event log says:
// live, from the ring and from the event log, across drops, joins and leaves.
func TestEveryStreamHearsExactlyItsIntervals(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			bubble(t, func(t *testing.T) { randomLives(t, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func randomLives(t *testing.T, rng *rand.Rand) {
	const users, channels, steps = 4, 3, 300
	l := newMemLog()
	in := map[string]bool{}
	for c := range channels {
		l.create(channelNamed(c), "u0")
		in[fmt.Sprint(c, "u0")] = true
	}
	step := func() {
		c, u := rng.IntN(channels), fmt.Sprint("u", rng.IntN(users))
		key := fmt.Sprint(c, u)
		switch k := rng.IntN(10); {
		case k < 2 && !in[key]:
			l.join(channelNamed(c), u)
			in[key] = true
		case k < 3 && in[key]:
			l.leave(channelNamed(c), u)
			in[key] = false
		case in[key]:
			l.post(channelNamed(c), u, "x")
		}
	}
	for range 100 { // before the node is there: only in the log, not in its ring
		step()
	}
	n := newNode(t, l)
	heard := make([][]string, users) // the ids that each user's one stream has shown, over its connections
	conns := make([]*client, users)
	read := func(u int) {
		for {
			f, ok := conns[u].next()
			if !ok {
				return
			}
			if f.id != "" && f.event != "stream.ready" && f.event != "stream.live" &&
				f.event != "stream.cursor" {
				heard[u] = append(heard[u], f.id)
			}
		}
	}
	open := func(u int) {
		from := events.Cursor{Epoch: l.epoch, Seq: 0}
		if k := len(heard[u]); k > 0 {
			from, _ = events.ParseCursor(heard[u][k-1])
		}
		conns[u] = n.open(t, Options{
			User: fmt.Sprint("u", u), Resume: &from,
			Filter: events.Filter{Echo: true},
		})
		go read(u)
	}
	for u := range users {
		open(u)
	}
	for range steps {
		step()
		if rng.IntN(10) == 0 {
			u := rng.IntN(users)
			_ = conns[u].conn.Close()
			synctest.Wait() // its reader has ended
			for range rng.IntN(80) {
				step()
			}
			open(u)
		}
		if rng.IntN(3) == 0 {
			synctest.Wait()
		}
	}
	time.Sleep(time.Second)
	synctest.Wait()
	for u := range users {
		var want []string
		name := fmt.Sprint("u", u)
		all := l.memberships(name)
		for _, e := range l.events {
			if slices.ContainsFunc(all, func(m events.Membership) bool { return m.Covers(e) }) {
				want = append(want, e.Cursor.String())
			}
		}
		if !slices.Equal(heard[u], want) {
			t.Errorf("%s heard %d events, want %d", name, len(heard[u]), len(want))
		}
		if len(want) < 50 {
			t.Errorf("%s had only %d events to hear: the test has lost its point", name, len(want))
		}
	}
}
