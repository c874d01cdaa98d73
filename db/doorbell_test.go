package db_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"
)

// A node that is alone rings for nobody; once another one is there, it does, and until it knows.
func TestANodeThatIsAloneSendsNoRings(t *testing.T) {
	t.Parallel()
	const hello = 200 * time.Millisecond
	url := dbtest.New(t)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	start := func() *db.DB {
		d := openURL(t, url)
		d.SayHello(hello)
		running.Go(func() { d.RunDoorbell(ctx, url, discard()) })
		return d
	}
	conn := dbtest.Connect(t, url)
	exec(t, conn, `LISTEN fabric_guild`)
	// rings counts what a node sends while it has something to ring for, up to three hellos' time.
	rings := func(d *db.DB) (n int) {
		for silence := false; !silence; { // what came before
			ctx, cancel := context.WithTimeout(t.Context(), hello/4)
			_, err := conn.WaitForNotification(ctx)
			silence = err != nil
			cancel()
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*hello)
		defer cancel()
		go func() {
			for tick := time.NewTicker(10 * time.Millisecond); ctx.Err() == nil; <-tick.C {
				d.Ring()
			}
		}()
		for {
			got, err := conn.WaitForNotification(ctx)
			if err != nil {
				return n
			}
			if got.Payload == d.Node() {
				n++
			}
		}
	}
	await := func(what string, condition func() bool) {
		t.Helper()
		eventually(t, what, condition)
	}

	one := start()
	if one.Alone() {
		t.Error("got a node that takes itself to be alone before it listens")
	}
	await("it is alone", one.Alone)
	if n := rings(one); n > 4 {
		t.Errorf("got %d rings of a node that is alone, want its hellos only", n)
	}
	other := start()
	await("it hears of the other", func() bool { return !one.Alone() })
	if n := rings(one); n < 8 {
		t.Errorf("got %d rings with another node there, want them for its commits", n)
	}
	if other.Alone() {
		t.Error("got a second node that takes itself to be alone")
	}
}
