package db_test

import (
	"context"
	"log/slog"
	"net"
	neturl "net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"

	"github.com/jackc/pgx/v5"
)

// A line that swallows everything, and does not end: a node's own hellos do not come back to it. It says so,
// once, rings for others, since it cannot know that there are none, and listens anew.
func TestADeafNodeNoticesAndRings(t *testing.T) {
	t.Parallel()
	const hello = 100 * time.Millisecond
	url := dbtest.New(t)
	line := newLine(t, url)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	var log lines
	d := openURL(t, url)
	d.SayHello(hello)
	running.Go(func() { d.RunDoorbell(ctx, line.url, slog.New(slog.NewTextHandler(&log, nil))) })
	await := func(what string, condition func() bool) {
		t.Helper()
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for deadline := time.Now().Add(time.Minute); !condition(); <-tick.C {
			if time.Now().After(deadline) {
				t.Fatal("waited in vain: ", what)
			}
		}
	}
	await("it is alone", func() bool { return d.Hears() && d.Alone() })
	line.swallow(true)
	await("it knows that it may not be alone", func() bool { return !d.Alone() })
	await("it knows that it is deaf", func() bool { return !d.Hears() })
	if d.Alone() {
		t.Error("got a deaf node that takes itself to be alone")
	}
	line.swallow(false)
	await("it hears again", d.Hears)
	other := openURL(t, url)
	other.SayHello(hello)
	running.Go(func() { other.RunDoorbell(ctx, url, discard()) })
	await("it hears of another node", func() bool { return !d.Alone() })
	if got := log.count("doorbell failed"); got != 1 {
		t.Errorf("got %d lines that the doorbell failed, want one", got)
	}
}

// A database link that is quiet is not one that is deaf: nobody else rings, and the line stays as it is.
func TestALineThatIsQuietStays(t *testing.T) {
	t.Parallel()
	const hello = 20 * time.Millisecond
	url := dbtest.New(t)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	var log lines
	d := openURL(t, url)
	d.SayHello(hello)
	running.Go(func() { d.RunDoorbell(ctx, url, slog.New(slog.NewTextHandler(&log, nil))) })
	conn := dbtest.Connect(t, url)
	exec(t, conn, `LISTEN fabric_guild`)
	for range 50 { // hellos
		if _, err := conn.WaitForNotification(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := log.count("doorbell failed"); got != 0 {
		t.Errorf("got %d lines that the doorbell failed, want none", got)
	}
}

// A line leads to Postgres, until it swallows what comes from there.
type line struct {
	url        string
	swallowing atomic.Bool
}

func newLine(t *testing.T, to string) *line {
	t.Helper()
	config, err := pgx.ParseConfig(to)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "line")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	listener, err := net.Listen("unix", filepath.Join(dir, ".s.PGSQL.5432"))
	if err != nil {
		t.Fatal(err)
	}
	l := &line{url: strings.Replace(to, "host="+neturl.QueryEscape(config.Host), "host="+neturl.QueryEscape(dir), 1)}
	if l.url == to {
		t.Fatalf("got the host %s nowhere in %s", config.Host, to)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("unix", filepath.Join(config.Host, ".s.PGSQL.5432"))
			if err != nil {
				_ = client.Close()
				continue
			}
			serving.Go(func() { l.pass(client, server, &l.swallowing) })
			serving.Go(func() { l.pass(server, client, new(atomic.Bool)) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		serving.Wait()
	})
	return l
}

func (l *line) swallow(on bool) { l.swallowing.Store(on) }

// pass copies until one side ends, and ends both.
func (l *line) pass(to, from net.Conn, swallowing *atomic.Bool) {
	defer func() { _, _ = to.Close(), from.Close() }()
	b := make([]byte, 4<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		if !swallowing.Load() {
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
	}
}

// lines are what was logged.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), part)
}

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
