package db_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"
	"fabric-guild/events"
)

// A post finds a connection while reads and transactions use all the connections that they may. More reads
// wait, and hold no connection.
func TestReadsAndTransactionsLeaveConnectionsForPosts(t *testing.T) {
	t.Parallel()
	d := openURL(t, dbtest.New(t)+"&pool_max_conns=10")
	channel, at := create(t, d, "alice")
	post(t, d, channel, "alice", "hi")

	release := make(chan struct{})
	var busy, holding sync.WaitGroup
	read := func() {
		done, err := d.Reading(t.Context())
		if err != nil {
			t.Error(err)
			return
		}
		defer done()
		one := db.History{Channel: channel, User: "alice", Limit: 1}
		err = d.ListMessages(t.Context(), one, func(db.StoredMessage) bool {
			busy.Done()
			<-release
			return false
		})
		if err != nil {
			t.Error(err)
		}
	}
	change := func() {
		err := d.InTx(t.Context(), func(context.Context, db.Tx) error {
			busy.Done()
			<-release
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	for range 4 {
		busy.Add(1)
		holding.Go(read)
	}
	for range 5 {
		busy.Add(1)
		holding.Go(change)
	}
	busy.Wait()
	if got := d.Pools()["requests"].Acquired; got != 9 {
		t.Errorf("got %d connections in use, want 9", got)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for name, ask := range map[string]func() error{
		"a read": func() error { _, err := d.Reading(gone); return err },
		"a cursor": func() error {
			_, err := d.CheckCursor(gone, events.Cursor{Epoch: 1, Seq: 1}, at)
			return err
		},
	} {
		waits := d.Pools()["requests"].GaveUp
		if err := ask(); !errors.Is(err, db.ErrUnavailable) || d.Pools()["requests"].GaveUp != waits {
			t.Errorf("%s: got %v, want an error before it asks for a connection", name, err)
		}
	}
	post(t, d, channel, "alice", "I do not wait")
	close(release)
	holding.Wait()
}
