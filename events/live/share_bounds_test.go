package live

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"fabric-guild/events"
)

// After a rush of users, each with one stream, the server keeps only a few snapshots in memory, shown or not.
func TestARushOfUsersSharesFewSnapshots(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const users = 2 * sharedSnapshots
		l := newMemLog()
		var members []string
		for i := range users {
			members = append(members, fmt.Sprint("user", i))
		}
		for i := range snapshotRows + 1 {
			l.create(channelNamed(i), members...)
		}
		n := newNode(t, l)
		shared := func() (count int) {
			n.mu.Lock()
			defer n.mu.Unlock()
			for _, u := range n.users {
				if u.shared != nil {
					count++
				}
			}
			return count
		}
		var all []*client
		for range 2 { // the first streams of all make the router know the users
			for _, user := range members {
				all = append(all, n.open(t, Options{User: user}))
			}
			synctest.Wait()
		}
		if got := shared(); got != sharedSnapshots {
			t.Errorf("got %d shared snapshots while they are shown, want %d", got, sharedSnapshots)
		}
		for _, c := range all {
			if got, _ := c.snapshotOf(); len(got) != snapshotRows+1 {
				t.Errorf("got %d channels, want %d", len(got), snapshotRows+1)
			}
		}
		synctest.Wait()
		if got := shared(); got != sharedSnapshots {
			t.Errorf("got %d shared snapshots after the rush, want %d", got, sharedSnapshots)
		}
		time.Sleep(snapshotKept + time.Second)
		if got := shared(); got != 0 || n.sharing != 0 {
			t.Errorf("got %d shared snapshots, counted as %d, want none", got, n.sharing)
		}
	})
}

// After a new epoch, streams share no snapshot from before. It may show the name of an event that the router
// had not reached, and that the database has lost.
func TestASnapshotDoesNotOutliveAnEpoch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := longLog()
		n := newNode(t, l)
		c := n.open(t, Options{User: "bob"})
		c.snapshotOf()
		before, _ := n.enterSnapshot(c.s)
		n.leaveSnapshot(c.s.user, before)
		l.set(func() { l.epoch++; l.base = l.last() })
		time.Sleep(time.Second)
		after, asOf := n.enterSnapshot(c.s)
		if asOf.Epoch != l.epoch || !before.shared || after == before {
			t.Errorf("got the snapshot of epoch %d in epoch %d, want a new one", before.asOf.Epoch,
				asOf.Epoch)
		}
		n.leaveSnapshot(c.s.user, after)
	})
}

// A stream is not charged for the time in which Postgres does not answer: after an outage its user could read
// nothing for minutes.
func TestAnOutageIsNotWork(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		l.create(uuid.New(), "bob")
		n := newNode(t, l)
		n.open(t, Options{User: "bob"}).snapshotOf()
		stall := make(chan struct{})
		l.set(func() { l.stall = stall })
		var worked atomic.Int64
		opts := Options{User: "bob", Worked: func(took time.Duration) { worked.Add(int64(took)) }}
		c := n.open(t, opts)
		go func() {
			for ok := true; ok; _, ok = c.next() { // it takes the heartbeats
			}
		}()
		time.Sleep(5 * replayTimeout)
		if got := time.Duration(worked.Load()); got != 0 {
			t.Errorf("got %v of work in an outage, want none", got)
		}
		cut := n.open(t, opts)
		time.Sleep(replayRetry + time.Second)
		cut.s.Abort()
		c.s.Abort()
		synctest.Wait()
		if worked.Load() == 0 {
			t.Error("got no work of a read that a client broke off, want its time")
		}
		close(stall)
	})
}

// A stream that cannot resume reads a snapshot that its client did not ask for. It waits until its user owes
// no time.
func TestAResetWaitsForItsUser(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		at := l.create(uuid.New(), "bob")
		n := newNode(t, l)
		const owed = 20 * time.Second
		paid := time.Now().Add(owed)
		await := func(ctx context.Context) error {
			if time.Now().Before(paid) {
				return errDown
			}
			return nil
		}
		began := time.Now()
		n.open(t, Options{User: "bob", Await: await, Resume: &at}).expect(got{event: "stream.ready"})
		if took := time.Since(began); took >= owed {
			t.Errorf("a stream that resumes took %v, want at once", took)
		}
		before := events.Cursor{Epoch: at.Epoch - 1, Seq: 1}
		c := n.open(t, Options{User: "bob", Await: await, Resume: &before})
		f, _ := c.next()
		for f.comment != "" { // a heartbeat
			f, _ = c.next()
		}
		if f.event != "stream.reset" {
			t.Errorf("got %v, want a stream.reset", f)
		}
		if took := time.Since(began); took < owed {
			t.Errorf("a stream that cannot resume took %v, want %v", took, owed)
		}
	})
}

// A wait for a place among those who read the database is no work of the user who waits: others are busy.
func TestAWaitForAPlaceIsNotWork(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := longLog()
		n := newNode(t, l)
		n.open(t, Options{User: "bob"}).snapshotOf()
		time.Sleep(snapshotKept + time.Second) // shorter than idleUser
		var places, waited, worked time.Duration
		l.placing = func() {
			time.Sleep(time.Second)
			waited += time.Second
		}
		l.paging = func([]string, events.Place) {
			time.Sleep(time.Millisecond)
			places += time.Millisecond
		}
		n.open(t, Options{User: "bob", Worked: func(took time.Duration) { worked += took }}).snapshotOf()
		if waited == 0 || worked != places {
			t.Errorf("got %v of work, want %v; it waited for %v", worked, places, waited)
		}
	})
}
