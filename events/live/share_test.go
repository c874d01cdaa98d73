package live

import (
	"encoding/json"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"fabric-guild/events"
)

// snapshotOf reads the snapshot at the beginning of a stream. It returns the channels and the position.
func (c *client) snapshotOf() (channels []uuid.UUID, at string) {
	c.t.Helper()
	for f := c.expect(got{event: "stream.ready"}); ; f = c.expect(got{event: "stream.channels"}) {
		var part struct{ Channels []events.Channel }
		if err := json.Unmarshal([]byte(f.data), &part); err != nil {
			c.t.Fatal(err)
		}
		for _, ch := range part.Channels {
			channels = append(channels, ch.ID)
		}
		if f.id != "" {
			return channels, f.id
		}
	}
}

// reach blocks until the router has routed everything up to at.
func (n *node) reach(at events.Cursor) {
	for n.Position() != at {
		time.Sleep(time.Millisecond)
	}
}

// sharedOf returns the user's shared snapshot, and how many shared snapshots the router counts.
func (n *node) sharedOf(user string) (snap *snapshot, count int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.users[user].shared, n.sharing
}

// Streams of one user share a long snapshot, until something changes that it shows. What they show is never
// stale, and is as of their own position.
func TestStreamsOfAUserShareASnapshot(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const channels = 3 * snapshotRows
		const reads = channels/snapshotRows + 1
		l := newMemLog()
		var want []uuid.UUID
		var at events.Cursor
		for i := range channels {
			want = append(want, channelNamed(i))
			at = l.create(channelNamed(i), "alice", "bob")
		}
		n := newNode(t, l)
		n.open(t, Options{User: "bob"}).snapshotOf() // the router knows bob from now on
		const pause = snapshotKept + time.Second     // shorter than idleUser
		time.Sleep(pause)
		var count atomic.Int32
		l.paging = func(users []string, _ events.Place) {
			if slices.Contains(users, "bob") {
				count.Add(1)
			}
		}
		check := func(step string, wantReads int, opts ...Options) {
			t.Helper()
			count.Store(0)
			var worked atomic.Int32
			var all []*client
			for _, o := range opts {
				o.User = "bob"
				o.Worked = func(time.Duration) { worked.Add(1) }
				all = append(all, n.open(t, o))
			}
			for _, c := range all {
				got, id := c.snapshotOf()
				if !slices.Equal(got, want) || id != at.String() {
					t.Errorf("%s: got %d channels as of %s, want %d as of %v", step, len(got), id,
						len(want), at)
				}
				c.s.Abort()
			}
			synctest.Wait()
			if got := int(count.Load()); got != wantReads {
				t.Errorf("%s: got %d reads, want %d", step, got, wantReads)
			}
			if (worked.Load() > 0) != (wantReads > 0) {
				t.Errorf("%s: Worked was called %d times, want it with reads only", step, worked.Load())
			}
		}
		fresh := Options{}
		guild := Options{Filter: events.Filter{Guilds: []string{"g1"}}}
		check("three at once", reads, fresh, fresh, fresh)
		at = l.post(channelNamed(0), "alice", "hi")
		n.reach(at)
		check("after a message", 0, fresh)
		at = l.create(uuid.New(), "alice")
		n.reach(at)
		check("after a change of a channel of others", 0, fresh)
		check("with a token for some guilds", reads, guild)
		time.Sleep(snapshotKept - time.Second)
		check("a while later", 0, guild)
		time.Sleep(pause)
		check("long after the last", reads, guild)
		if _, count := n.sharedOf("bob"); count != 1 {
			t.Errorf("got %d shared snapshots, want one", count)
		}
		check("with a token for all guilds", reads, fresh)

		at = l.append(&events.Event{Kind: events.ChannelUpdated, ChannelID: want[1], UserID: "alice"})
		n.reach(at)
		check("after a new name", reads, fresh)
		at = l.leave(want[1], "bob")
		want = slices.Delete(slices.Clone(want), 1, 2)
		n.reach(at)
		check("after a leave", reads-1, fresh, fresh)
		left := at
		at = l.join(channelNamed(1), "bob")
		want = slices.Insert(want, 1, channelNamed(1))
		n.reach(at)
		check("after a join", reads, fresh)
		resume := at
		check("a resume with a snapshot", 0, Options{Resume: &resume, Snapshot: true})
		now, before := at, want
		at, want = left, slices.Delete(slices.Clone(want), 1, 2)
		check("a resume from before the join", reads-1, Options{Resume: &left, Snapshot: true})
		at, want = now, before
		time.Sleep(pause)
		if snap, count := n.sharedOf("bob"); snap != nil || count != 0 {
			t.Errorf("got %d snapshots that stay, want none", count)
		}

		n.mu.Lock()
		n.sharing = sharedSnapshots
		n.mu.Unlock()
		check("while others share many", 2*reads, fresh, fresh)
		if snap, count := n.sharedOf("bob"); snap != nil || count != sharedSnapshots {
			t.Errorf("got %d shared snapshots, want %d", count, sharedSnapshots)
		}
	})
}

// A user has one shared snapshot at most. A stream that opens after a change, while another stream still
// shows the old one, reads its own.
func TestAnOldSnapshotIsNotReplacedWhileItIsShown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := longLog()
		n := newNode(t, l)
		old := n.open(t, Options{User: "bob"}) // reads nothing yet
		synctest.Wait()
		left := l.leave(channelNamed(0), "bob")
		n.reach(left)
		for range 2 {
			c := n.open(t, Options{User: "bob"})
			if got, at := c.snapshotOf(); len(got) != 2*snapshotRows-1 || at != left.String() {
				t.Errorf("got %d channels as of %s, want %d as of %v", len(got), at, 2*snapshotRows-1, left)
			}
			if snap, _ := n.sharedOf("bob"); snap == nil || snap.asOf.Seq >= left.Seq {
				t.Errorf("got %v, want the old snapshot", snap)
			}
			c.s.Abort()
		}
		if got, _ := old.snapshotOf(); len(got) != 2*snapshotRows {
			t.Errorf("got %d channels, want %d", len(got), 2*snapshotRows)
		}
		old.expect(got{event: "channel.left", id: left.String()})
		if snap, _ := n.sharedOf("bob"); snap != nil {
			t.Error("got a snapshot that stays, want none: it is outdated")
		}
	})
}

// A snapshot of a resumed stream, as of a cursor from before the router knew the user, is not shared with
// streams that begin later.
func TestASnapshotFromBeforeTheLoadIsNotShared(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		var at events.Cursor
		for i := range 2 * snapshotRows {
			at = l.create(channelNamed(i), "bob")
		}
		left := l.leave(channelNamed(0), "bob")
		n := newNode(t, l)
		old := n.open(t, Options{User: "bob", Resume: &at, Snapshot: true})
		if got, id := old.snapshotOf(); len(got) != 2*snapshotRows || id != at.String() {
			t.Errorf("got %d channels as of %s, want %d as of %v", len(got), id, 2*snapshotRows, at)
		}
		fresh := n.open(t, Options{User: "bob"})
		if got, id := fresh.snapshotOf(); len(got) != 2*snapshotRows-1 || id != left.String() {
			t.Errorf("got %d channels as of %s, want %d as of %v", len(got), id, 2*snapshotRows-1, left)
		}
	})
}

// After the router has restarted, streams from before share nothing: what they knew may be of another epoch.
func TestASnapshotDoesNotOutliveARestart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := longLog()
		n := newNode(t, l)
		c := n.open(t, Options{User: "bob"})
		c.snapshotOf()
		before, _ := n.enterSnapshot(c.s)
		n.mu.Lock()
		n.restartLocked(n.at.Seq)
		n.mu.Unlock()
		after, _ := n.enterSnapshot(c.s)
		if !before.shared || after.shared {
			t.Errorf("got shared %t and %t, want true before the restart and false after it", before.shared,
				after.shared)
		}
		n.leaveSnapshot(c.s.user, before)
	})
}

// A stream that does not share its snapshot holds one read of it at most.
func TestASnapshotOfOneStreamKeepsNothing(t *testing.T) {
	t.Parallel()
	l := longLog()
	r := NewRouter(l, events.Cursor{Epoch: l.epoch, Seq: l.last()})
	p := r.newSnapshot(&Session{opts: Options{User: "bob"}}, r.at)
	for i, last := 0, false; !last; i++ {
		if err := p.read(t.Context(), i); err != nil {
			t.Fatal(err)
		}
		var got part
		got, last, _ = p.part(i)
		if got.frame == nil && got.channels == nil || p.parts[i].frame != nil || p.parts[i].channels != nil {
			t.Fatalf("part %d: got %v, and %v stays; want it once", i, got, p.parts[i])
		}
	}
}

// longLog returns a log with many channels of bob. One read does not return them all.
func longLog() *memLog {
	l := newMemLog()
	for i := range 2 * snapshotRows {
		l.create(channelNamed(i), "bob")
	}
	return l
}
