package guildtest_test

import (
	"bufio"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers/e2e/guildtest"
)

// A claim that waits costs the server about 8 KiB: the stack of its goroutine, and its part of the heap. Each
// claim is of a user of its own, and the client is another process. All claims come in a burst, which is the
// worst case: Go then begins goroutines with stacks of 4 KiB or more. Where claims come one by one, it begins
// them with 2 KiB, which is enough. Go keeps stacks for each processor, so their number is fixed.
func TestMemoryOfParkedClaims(t *testing.T) {
	const claims, most = 1500, 9 << 10
	state := guildtest.StateDir(t)
	n := program.Launch(t, state, []string{"GOMAXPROCS=2"}, exec.Command(program.Path,
		"-addr", "127.0.0.1:0", "-state", state, "-database-url", dbtest.New(t), "-rate-limit", "0"))
	var users []string
	for i := range claims {
		users = append(users, fmt.Sprint("bot", i))
	}
	tokens := n.Tokens(users...)
	claim := func(token, body string) net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", n.Addr())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if _, err := fmt.Fprintf(conn, "POST /api/wakes/claim HTTP/1.1\r\nHost: localhost\r\n"+
			"Authorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
			token, len(body), body); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	memory := func() (heap, stacks int) {
		const collections = 4 // each halves the stacks that are too large
		for first := n.Metric("go_gc_duration_seconds_count"); ; {
			if n.Metric("go_gc_duration_seconds_count") >= first+collections {
				return int(n.Metric("go_gc_heap_live_bytes")), int(n.Metric("go_memstats_stack_inuse_bytes"))
			}
		}
	}
	for some := range slices.Chunk(tokens, 50) { // opens the queues, and all connections to Postgres
		var conns []net.Conn
		for _, token := range some {
			conns = append(conns, claim(token, "{}"))
		}
		for _, conn := range conns {
			if line, err := bufio.NewReader(conn).ReadString('\n'); !strings.Contains(line, "200") {
				t.Fatalf("got %q and error %v, want an answer", line, err)
			}
			_ = conn.Close()
		}
	}
	heap, stacks := memory()
	goroutines := n.Metric("go_goroutines")
	for _, token := range tokens {
		claim(token, `{"waitSeconds":60}`)
	}
	guildtest.Eventually(t, "all claims wait, each with one goroutine", guildtest.Patience, func() bool {
		return n.Metric("fabric_guild_wake_claims_waiting") == claims &&
			n.Metric("go_goroutines") < goroutines+claims+50
	})
	heapNow, stacksNow := memory()
	inHeap, inStacks := (heapNow-heap)/claims, (stacksNow-stacks)/claims
	t.Logf("a parked claim takes %d bytes of heap and %d of stacks", inHeap, inStacks)
	if inHeap+inStacks > most {
		t.Errorf("got %d + %d bytes for each claim that waits, want %d at most", inHeap, inStacks, most)
	}
}
