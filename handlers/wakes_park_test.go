package handlers_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"fabric-guild/db/dbtest"
	"fabric-guild/events/ssetest"
	"fabric-guild/handlers"
	"fabric-guild/handlers/e2e/nodetest"
)

// A rawClaim is a claim on a connection of its own, without an HTTP client.
type rawClaim struct {
	t    testing.TB
	conn net.Conn
}

func claimRaw(t testing.TB, u *nodetest.User, b string) rawClaim {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(u.Node.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := fmt.Fprintf(conn, "POST /api/wakes/claim HTTP/1.1\r\nHost: localhost\r\n"+
		"Authorization: Bearer %s\r\n"+
		"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", u.Token, len(b), b); err != nil {
		t.Fatal(err)
	}
	return rawClaim{t, conn}
}

// answer reads the answer of a claim that waits. The server must close the connection after it.
func (c rawClaim) answer() (w *nodetest.Wake, h http.Header) {
	c.t.Helper()
	a, err := http.ReadResponse(bufio.NewReader(c.conn), nil)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = a.Body.Close() }()
	var claimed struct {
		Wake *nodetest.Wake `json:"wake"`
	}
	if err := json.NewDecoder(a.Body).Decode(&claimed); err != nil || a.StatusCode != 200 || !a.Close {
		c.t.Fatalf("got %v and error %v, want 200, JSON and Connection: close", a, err)
	}
	return claimed.Wake, a.Header
}

// park waits until a server has taken over this many connections with claims.
func park(t testing.TB, n *nodetest.Node, claims int) {
	t.Helper()
	if !ssetest.Await(func() bool { return handlers.ParkedClaims(n.Server) == claims }) {
		t.Fatalf("got %d parked claims, want %d", handlers.ParkedClaims(n.Server), claims)
	}
}

const waits = `{"waitSeconds":60,"leaseSeconds":600}`

// A claim that waits for long is answered on the connection that the server took over, whatever ends the
// wait.
func TestWhatEndsAParkedClaim(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	handlers.LookAtWakes(n.Server, 1<<62) // rings alone
	ann, bot := n.User("ann"), n.User("bot")
	ops := ann.General(t, "ops", "bot").Channel.ID
	bot.Claim(t, nodetest.Body{})

	c := claimRaw(t, bot, waits)
	park(t, n, 1)
	ann.Says(t, ops, "one")
	w, h := c.answer()
	if w == nil || w.Attempt != 1 || w.Messages[0].Content != "one" {
		t.Fatalf("got %+v, want the message", w)
	}
	json := h.Get("Content-Type") == "application/json"
	if !json || h.Get("X-Request-Id") == "" || h.Get("Content-Length") == "" {
		t.Errorf("got the headers %v, want those of any answer", h)
	}
	park(t, n, 0)

	t.Run("a pause that ends", func(t *testing.T) {
		c := claimRaw(t, bot, waits)
		park(t, n, 1)
		bot.Done(t, "POST", "/api/wakes/"+w.ID+"/nack", nodetest.Body{"delaySeconds": 1})
		if w, _ = c.answer(); w == nil || w.Attempt != 1 {
			t.Errorf("got %+v, want the wake after its pause", w)
		}
		bot.Reply(t, w, "done", nil)
	})
	t.Run("a client that goes", func(t *testing.T) {
		park(t, n, 0) // the claim before has left
		c := claimRaw(t, bot, waits)
		park(t, n, 1)
		_ = c.conn.Close()
		park(t, n, 0)
		if got := handlers.PlacesTaken(n.Server); got != 0 {
			t.Errorf("got %d places taken, want 0", got)
		}
		ann.Says(t, ops, "two")
		if w := bot.Wake(t, nodetest.Body{}); w.Attempt != 1 {
			t.Errorf("got attempt %d, want 1: nobody got it before", w.Attempt)
		} else {
			bot.Reply(t, w, "done", nil)
		}
	})
	t.Run("the end of its time", func(t *testing.T) {
		park(t, n, 0) // the claim before has left
		c := claimRaw(t, bot, `{"waitSeconds":3}`)
		park(t, n, 1)
		if w, _ := c.answer(); w != nil {
			t.Errorf("got %+v, want nothing", w)
		}
	})
	t.Run("a queue that is closed", func(t *testing.T) {
		park(t, n, 0) // the claim before has left
		c := claimRaw(t, bot, waits)
		park(t, n, 1)
		bot.Done(t, "DELETE", "/api/wakes", nil)
		if w, _ := c.answer(); w != nil {
			t.Errorf("got %+v, want nothing", w)
		}
	})
	t.Run("a server that drains", func(t *testing.T) {
		park(t, n, 0) // the claim before has left
		bot.Claim(t, nodetest.Body{})
		c := claimRaw(t, bot, waits)
		park(t, n, 1)
		n.Server.Drain()
		if w, _ := c.answer(); w != nil {
			t.Errorf("got %+v, want nothing", w)
		}
		if err := n.Server.AwaitClaims(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A server waits until all parked claims have ended. If it cannot wait longer, it cuts their connections, and
// their clients get no answer.
func TestAwaitClaims(t *testing.T) {
	t.Parallel()
	const claims = 50
	for name, cuts := range map[string]bool{"it drains": false, "it cuts": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := nodetest.Start(t, nodetest.Setup{})
			bot := n.User("bot")
			bot.Claim(t, nodetest.Body{})
			var parked []rawClaim
			for range claims {
				parked = append(parked, claimRaw(t, bot, waits))
			}
			park(t, n, claims)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if cuts {
				cancel()
			} else {
				n.Server.Drain()
			}
			err := n.Server.AwaitClaims(ctx)
			if left := handlers.ParkedClaims(n.Server); left != 0 || (err != nil) != cuts {
				t.Errorf("got %d parked claims after the wait and error %v, want none and an error: %v",
					left, err, cuts)
			}
			for _, c := range parked {
				if !cuts {
					c.answer()
				} else if got, _ := io.ReadAll(c.conn); len(got) > 0 {
					t.Fatalf("got the answer %s, want none", got)
				}
			}
		})
	}
}

// A parked claim has one goroutine. It is no parallel test: it counts the memory of the whole process, which
// has the client's side of the connections too. In its handler a claim has two goroutines, and twice the
// memory.
func TestMemoryOfAParkedClaim(t *testing.T) {
	dbtest.Long(t)                     // TestManyParkedClaims is fast
	const claims, most = 300, 28 << 10 // the race detector needs memory too
	n := nodetest.Start(t, nodetest.Setup{})
	var bots []*nodetest.User
	for i := range claims {
		bots = append(bots, n.User(fmt.Sprint("bot", i)))
		bots[i].Claim(t, nodetest.Body{})
	}
	var first []rawClaim
	for range 40 { // opens all connections to Postgres
		first = append(first, claimRaw(t, bots[0], waits))
	}
	park(t, n, len(first))
	for _, c := range first {
		_ = c.conn.Close()
	}
	park(t, n, 0)
	n.Client.CloseIdleConnections()
	beforeBytes, before := memoryOf(n)
	for _, bot := range bots {
		claimRaw(t, bot, waits)
	}
	park(t, n, claims)
	bytes, goroutines := memoryOf(n)
	if n := handlers.ParkedClaims(n.Server); n != claims {
		t.Fatalf("got %d parked claims, want %d: they ended before their memory was counted", n, claims)
	}
	if each := (bytes - beforeBytes) / claims; each > most || goroutines-before > claims+10 {
		t.Errorf("got %d bytes for each claim and %d goroutines for all, want %d and %d",
			each, goroutines-before, most, claims)
	}
}
