package handlers_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"fabric-guild/handlers"
)

// A rawClaim is a claim on a connection of its own, without an HTTP client.
type rawClaim struct {
	t    testing.TB
	conn net.Conn
}

func (u *user) rawClaim(t testing.TB, b string) rawClaim {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(u.n.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := fmt.Fprintf(conn, "POST /api/wakes/claim HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n"+
		"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", u.token, len(b), b); err != nil {
		t.Fatal(err)
	}
	return rawClaim{t, conn}
}

// answer reads the answer of a claim that waits. The server must close the connection after it.
func (c rawClaim) answer() (w *wake, h http.Header) {
	c.t.Helper()
	a, err := http.ReadResponse(bufio.NewReader(c.conn), nil)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = a.Body.Close() }()
	var claimed struct {
		Wake *wake `json:"wake"`
	}
	if err := json.NewDecoder(a.Body).Decode(&claimed); err != nil || a.StatusCode != 200 || !a.Close {
		c.t.Fatalf("got %v and error %v, want 200, JSON and Connection: close", a, err)
	}
	return claimed.Wake, a.Header
}

// park waits until a server has taken over this many connections with claims.
func (n *node) park(t testing.TB, claims int) {
	t.Helper()
	if !eventually(func() bool { return handlers.ParkedClaims(n.server) == claims }) {
		t.Fatalf("got %d parked claims, want %d", handlers.ParkedClaims(n.server), claims)
	}
}

const waits = `{"waitSeconds":60,"leaseSeconds":600}`

// A claim that waits for long is answered on the connection that the server took over, whatever ends the wait.
func TestWhatEndsAParkedClaim(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	handlers.LookAtWakes(n.server, 1<<62) // rings alone
	ann, bot := n.user("ann"), n.user("bot")
	ops := ann.general(t, "ops", "bot").Channel.ID
	bot.claim(t, body{})

	c := bot.rawClaim(t, waits)
	n.park(t, 1)
	ann.says(t, ops, "one")
	w, h := c.answer()
	if w == nil || w.Attempt != 1 || w.Messages[0].Content != "one" {
		t.Fatalf("got %+v, want the message", w)
	}
	if h.Get("X-Request-Id") == "" || h.Get("Content-Type") != "application/json" || h.Get("Content-Length") == "" {
		t.Errorf("got the headers %v, want those of any answer", h)
	}
	n.park(t, 0)

	t.Run("a pause that ends", func(t *testing.T) {
		c := bot.rawClaim(t, waits)
		n.park(t, 1)
		bot.done(t, "POST", "/api/wakes/"+w.ID+"/nack", body{"delaySeconds": 1})
		if w, _ = c.answer(); w == nil || w.Attempt != 1 {
			t.Errorf("got %+v, want the wake after its pause", w)
		}
		bot.reply(t, w, "done", nil)
	})
	t.Run("a client that goes", func(t *testing.T) {
		c := bot.rawClaim(t, waits)
		n.park(t, 1)
		_ = c.conn.Close()
		n.park(t, 0)
		if got := handlers.PlacesTaken(n.server); got != 0 {
			t.Errorf("got %d places taken, want 0", got)
		}
		ann.says(t, ops, "two")
		if w := bot.wake(t, body{}); w.Attempt != 1 {
			t.Errorf("got attempt %d, want 1: nobody got it before", w.Attempt)
		} else {
			bot.reply(t, w, "done", nil)
		}
	})
	t.Run("the end of its time", func(t *testing.T) {
		c := bot.rawClaim(t, `{"waitSeconds":3}`)
		n.park(t, 1)
		if w, _ := c.answer(); w != nil {
			t.Errorf("got %+v, want nothing", w)
		}
	})
	t.Run("a queue that is closed", func(t *testing.T) {
		c := bot.rawClaim(t, waits)
		n.park(t, 1)
		bot.done(t, "DELETE", "/api/wakes", nil)
		if w, _ := c.answer(); w != nil {
			t.Errorf("got %+v, want nothing", w)
		}
	})
	t.Run("a server that drains", func(t *testing.T) {
		bot.claim(t, body{})
		c := bot.rawClaim(t, waits)
		n.park(t, 1)
		n.server.Drain()
		if w, _ := c.answer(); w != nil {
			t.Errorf("got %+v, want nothing", w)
		}
		if err := n.server.AwaitClaims(t.Context()); err != nil {
			t.Error(err)
		}
	})
	n.wantGoroutines(t, n.quiet(t))
}

// quiet returns how many goroutines a server has without requests.
func (n *node) quiet(t testing.TB) int {
	t.Helper()
	n.client.CloseIdleConnections()
	var got int
	eventually(func() bool {
		got, _ = n.goroutines()
		return handlers.ParkedClaims(n.server) == 0
	})
	return got
}

// A server that cannot wait longer cuts the connections of parked claims.
func TestParkedClaimsAreCut(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	bot := n.user("bot")
	bot.claim(t, body{})
	bot.rawClaim(t, waits)
	n.park(t, 1)
	cut, cancel := context.WithCancel(t.Context())
	cancel()
	n.server.Drain()
	_ = n.server.AwaitClaims(cut)
	n.park(t, 0)
}

// A parked claim has one goroutine with a small stack, and holds 8 KiB at most. It is no parallel test: it counts
// the memory of the whole process, which has the client's side of the connections too.
func TestMemoryOfAParkedClaim(t *testing.T) {
	const claims, most = 300, 8 << 10
	n := start(t, setup{})
	var bots []*user
	for i := range claims {
		bots = append(bots, n.user(fmt.Sprint("bot", i)))
		bots[i].claim(t, body{})
	}
	var first []rawClaim
	for range 40 { // opens all connections to Postgres
		first = append(first, bots[0].rawClaim(t, waits))
	}
	n.park(t, len(first))
	for _, c := range first {
		_ = c.conn.Close()
	}
	n.park(t, 0)
	n.client.CloseIdleConnections()
	memory := func() (bytes int, goroutines int) {
		var m runtime.MemStats
		for range 4 { // each collection halves the stacks that are too large
			runtime.GC()
		}
		runtime.ReadMemStats(&m)
		goroutines, _ = n.goroutines()
		return int(m.HeapAlloc + m.StackInuse), goroutines
	}
	beforeBytes, before := memory()
	for _, bot := range bots {
		bot.rawClaim(t, waits)
	}
	n.park(t, claims)
	var bytes, goroutines int
	if !eventually(func() bool {
		bytes, goroutines = memory()
		if n := handlers.ParkedClaims(n.server); n != claims {
			t.Fatalf("got %d parked claims, want %d: they ended before their memory was counted", n, claims)
		}
		return (bytes-beforeBytes)/claims <= most && goroutines-before <= claims+10
	}) {
		t.Errorf("got %d bytes and %d goroutines for %d claims, want %d bytes each and one goroutine",
			(bytes-beforeBytes)/claims, goroutines-before, claims, most)
	}
	t.Logf("%d bytes for each parked claim, %d goroutines for %d", (bytes-beforeBytes)/claims, goroutines-before, claims)
}
