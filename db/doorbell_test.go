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

	"fabric-guild/events/ssetest"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// runDoorbell runs the doorbell of a server until the end of the test, before the server is closed.
func runDoorbell(t *testing.T, d *db.DB, url string, logger *slog.Logger) {
	t.Helper()
	var running sync.WaitGroup
	running.Go(func() { d.RunDoorbell(t.Context(), url, logger) })
	t.Cleanup(running.Wait) // the test's context has ended then
}

// A connection that swallows everything stays open, but the server's own hellos do not come back. The server
// logs that once. It keeps ringing for others, because it cannot know that there are none, and it reconnects.
func TestAServerNoticesADeadDoorbellAndKeepsRinging(t *testing.T) {
	t.Parallel()
	const hello = time.Second
	url := dbtest.New(t)
	line := newLine(t, url)
	var log lines
	d := openURL(t, url)
	d.SayHello(hello)
	runDoorbell(t, d, line.url, slog.New(slog.NewTextHandler(&log, nil)))
	await := func(what string, condition func() bool) {
		t.Helper()
		eventually(t, what, condition)
	}
	await("it is alone", func() bool { return d.Hears() && d.Alone() })
	line.swallow(true)
	await("it knows that it may not be alone", func() bool { return !d.Alone() })
	await("it knows that it is deaf", func() bool { return !d.Hears() })
	if d.Alone() {
		t.Error("got a server with a dead connection that believes that it is alone")
	}
	line.swallow(false)
	await("it hears again", d.Hears)
	other := openURL(t, url)
	other.SayHello(hello)
	runDoorbell(t, other, url, discard())
	await("it hears of another node", func() bool { return !d.Alone() })
	if got := log.count("doorbell failed"); got != 1 {
		t.Errorf("got %d lines that the doorbell failed, want one", got)
	}
}

// A quiet connection is not a dead one: if no other server rings, the doorbell keeps its connection.
func TestAQuietDoorbellKeepsItsConnection(t *testing.T) {
	t.Parallel()
	// A doorbell that misses a few hellos is dead. So a hello must be longer than the pauses of a busy
	// machine.
	const hello = 2 * time.Second
	url := dbtest.New(t)
	var log lines
	d := openURL(t, url)
	d.SayHello(hello)
	runDoorbell(t, d, url, slog.New(slog.NewTextHandler(&log, nil)))
	conn := dbtest.Connect(t, url)
	exec(t, conn, `LISTEN fabric_guild`)
	for range 5 { // hellos
		if _, err := conn.WaitForNotification(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := log.count("doorbell failed"); got != 0 {
		t.Errorf("got %d lines that the doorbell failed, want none", got)
	}
}

// A line is a proxy to Postgres. It can swallow what Postgres sends, and counts how often a client has waited
// for an answer.
type line struct {
	url        string
	swallowing atomic.Bool
	waits      atomic.Int64
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
	l := &line{url: strings.Replace(to, "host="+neturl.QueryEscape(config.Host),
		"host="+neturl.QueryEscape(dir), 1)}
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
			var asked atomic.Bool // since the last answer
			serving.Go(func() {
				pass(client, server, func() bool {
					if asked.Swap(false) {
						l.waits.Add(1)
					}
					return !l.swallowing.Load()
				})
			})
			serving.Go(func() {
				pass(server, client, func() bool {
					asked.Store(true)
					return true
				})
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		serving.Wait()
	})
	return l
}

func (l *line) swallow(on bool) { l.swallowing.Store(on) }

// pass copies until one side ends, and closes both. For each piece, it asks whether to pass it on.
func pass(to, from net.Conn, passes func() bool) {
	defer func() { _, _ = to.Close(), from.Close() }()
	b := make([]byte, 4<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		if passes() {
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
	}
}

// lines counts log lines.
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

// A new server asks who is there, so that it need not wait for hellos. Others answer at once.
func TestANewServerAsksWhoIsThere(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	other := dbtest.Connect(t, url)
	exec(t, other, `LISTEN fabric_guild`)
	hears := func(want string) {
		t.Helper()
		got, err := other.WaitForNotification(t.Context())
		if err != nil || got.Payload != want {
			t.Fatalf("the other server hears %v and %v, want %q", got, err, want)
		}
	}
	d := openURL(t, url)
	d.SayHello(time.Hour)
	runDoorbell(t, d, url, discard())
	hears(d.Node() + "?")
	eventually(t, "nobody has answered", d.Alone)
	node := uuid.NewString()
	exec(t, other, `SELECT pg_notify('fabric_guild', $1)`, node+"?")
	hears(node + "?")
	hears(d.Node())
	if d.Alone() {
		t.Error("got a server that believes that it is alone, want that it knows who has asked")
	}
}

// A server that is alone sends no rings. It sends rings once there is another server, and as long as it does
// not know.
func TestAServerThatIsAloneSendsNoRings(t *testing.T) {
	dbtest.Long(t) // TestANewServerAsksWhoIsThere is fast
	t.Parallel()
	const hello = time.Second
	url := dbtest.New(t)
	start := func() *db.DB {
		d := openURL(t, url)
		d.SayHello(hello)
		runDoorbell(t, d, url, discard())
		return d
	}
	conn := dbtest.Connect(t, url)
	exec(t, conn, `LISTEN fabric_guild`)
	// rings counts up to enough what a server sends within a time, while commits ring it.
	rings := func(d *db.DB, enough int, within time.Duration) (n int) {
		for silence := false; !silence; { // rings from before
			ctx, cancel := context.WithTimeout(t.Context(), hello/4)
			_, err := conn.WaitForNotification(ctx)
			silence = err != nil
			cancel()
		}
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		go func() {
			for tick := time.NewTicker(10 * time.Millisecond); ctx.Err() == nil; <-tick.C {
				d.Ring()
			}
		}()
		for n < enough {
			got, err := conn.WaitForNotification(ctx)
			if err != nil {
				break
			}
			if got.Payload == d.Node() {
				n++
			}
		}
		return n
	}
	await := func(what string, condition func() bool) {
		t.Helper()
		eventually(t, what, condition)
	}

	one := start()
	if one.Alone() {
		t.Error("got a server that believes that it is alone before it listens, want that it does not know")
	}
	await("it is alone", one.Alone)
	if n := rings(one, 100, 3*hello); n > 4 {
		t.Errorf("got %d rings of a server that is alone, want only its hellos", n)
	}
	other := start()
	await("it hears of the other", func() bool { return !one.Alone() })
	if n := rings(one, 8, ssetest.Patience); n < 8 {
		t.Errorf("got %d rings while there is another server, want rings for commits", n)
	}
	if other.Alone() {
		t.Error("got a second server that believes that it is alone")
	}
}
