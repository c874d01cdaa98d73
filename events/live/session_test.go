package live

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fabric-guild/events"
)

func TestANewStreamShowsASnapshotThenEvents(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		created := l.create(ops, "alice", "bob")
		n := newNode(t, l)
		c := n.open(t, Options{User: "bob"})
		c.expect(got{event: "stream.ready", id: created.String(), data: `"resumed":false,"channels":[{`})
		c.expect(got{
			event: "message.created", id: l.post(ops, "alice", "hi").String(),
			data: `"wakeup":true,"wakeReason":"everyone"`,
		})
		l.post(ops, "bob", "mine")
		c.expect(got{event: "message.created", id: l.post(ops, "alice", "again").String(), data: "again"})
	})
}

func TestHeartbeatsCarryThePosition(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		at := l.create(ops, "alice")
		n := newNode(t, l)
		c := n.open(t, Options{User: "alice"})
		c.expect(got{event: "stream.ready"})
		start := time.Now()
		for i := range 3 {
			c.expect(got{comment: "hb " + at.String()})
			if d, want := time.Since(start), time.Duration(i+1)*heartbeatInterval; d != want {
				t.Errorf("heartbeat %d after %v, want %v", i, d, want)
			}
		}
		at = l.post(ops, "alice", "skipped by its author")
		c.expect(got{event: "stream.cursor", id: at.String()})
		c.expect(got{comment: "hb " + at.String()})
	})
}

// A browser hides comments from its page, so heartbeats can be events.
func TestHeartbeatsAsEvents(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		at := l.create(ops, "alice")
		n := newNode(t, l)
		stall := make(chan struct{})
		l.set(func() { l.stall = stall })
		c := n.open(t, Options{User: "alice", Format: events.Format{Beats: true}})
		if f := c.expect(got{event: "stream.heartbeat"}); f.data != "{}" || f.id != "" {
			t.Errorf("got %v before the stream has begun, want one without a position", f)
		}
		l.set(func() { l.stall = nil })
		close(stall)
		c.expect(got{event: "stream.ready", id: at.String()})
		at = l.post(ops, "alice", "skipped by its author")
		c.expect(got{event: "stream.cursor", id: at.String()})
		if f := c.expect(got{event: "stream.heartbeat"}); f.data != `{"cursor":"`+at.String()+`"}` ||
			f.id != "" {
			t.Errorf("got %v, want the position %v and no id, which would move the client's cursor", f, at)
		}
	})
}

// LOG rule 17: a stream whose events are all skipped gets its new position at the next heartbeat, after one
// event as after many. So retention does not overtake the last id that the client of an open stream knows.
func TestAQuietStreamGetsItsPosition(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		l.create(ops, "alice")
		n := newNode(t, l)
		c := n.open(t, Options{User: "alice"})
		c.expect(got{event: "stream.ready"})
		for _, n := range []int{1, 2 * cursorLag, 1} {
			var at events.Cursor
			for range n {
				at = l.post(ops, "alice", "skipped")
			}
			c.expect(got{event: "stream.cursor", id: at.String(), data: at.String()})
			c.expect(got{comment: "hb " + at.String()})
		}
	})
}

func TestTheStreamEndsWithItsToken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newNode(t, newMemLog())
		start := time.Now()
		c := n.open(t, Options{User: "alice", Expires: start.Add(20 * time.Second)})
		c.expect(got{event: "stream.ready"})
		c.expect(got{comment: "hb 7.0"})
		c.expect(got{event: "stream.closing", data: `{"reason":"token_expired","reconnect":false}`})
		if d := time.Since(start); d != 20*time.Second {
			t.Errorf("it ended after %v, want 20 s", d)
		}
		c.expectEnd()
	})
}

func TestTheStreamEndsWhenItsTokenIsRevoked(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newNode(t, newMemLog())
		revokedAt := time.Now().Add(20 * time.Second)
		c := n.open(t, Options{User: "alice", Revoked: func() bool { return time.Now().After(revokedAt) }})
		c.expect(got{event: "stream.ready"})
		c.expect(got{comment: "hb 7.0"})
		c.expect(got{comment: "hb 7.0"}) // the check goes beside it
		c.expect(got{event: "stream.closing", data: `{"reason":"token_revoked","reconnect":false}`})
		if late := time.Since(revokedAt); late > time.Minute {
			t.Errorf("it ended %v after the revocation, want a minute at most", late)
		}
		c.expectEnd()
	})
}

func TestDrainEndsEveryStreamAndRefusesNewOnes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		n := newNode(t, l)
		a, b := n.open(t, Options{User: "alice"}), n.open(t, Options{User: "bob"})
		a.expect(got{event: "stream.ready"})
		b.expect(got{event: "stream.ready"})
		closed := make(chan struct{})
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			n.Close(ctx)
			close(closed)
		}()
		a.expect(got{event: "stream.closing", data: `{"reason":"drain","reconnect":true}`})
		a.expectEnd()
		start := time.Now()
		<-closed // bob reads nothing: he is cut
		if d := time.Since(start); d != 5*time.Second {
			t.Errorf("it closed after %v, want when its context ended", d)
		}
		if _, err := n.Open(t.Context(), Options{User: "carol"}); !errors.Is(err, ErrClosed) {
			t.Errorf("got %v, want %v", err, ErrClosed)
		}
	})
}

// Only a reader that takes no byte within the deadline is cut off.
func TestAReaderThatTakesNothingIsCut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		l.create(ops, "alice", "bob")
		n := newNode(t, l)
		c := n.open(t, Options{User: "bob"})
		c.expect(got{event: "stream.ready"})
		l.post(ops, "alice", "not taken")
		time.Sleep(writeTimeout - time.Second)
		synctest.Wait()
		if n.Streams() != 1 {
			t.Fatal("it was cut before the deadline")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n.Streams() != 0 {
			t.Fatal("it was not cut at the deadline")
		}
	})
}

func TestASlowReaderIsNotCut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		l.create(ops, "alice", "bob")
		n := newNode(t, l)
		c := n.open(t, Options{User: "bob"})
		c.expect(got{event: "stream.ready"})
		at := l.post(ops, "alice", "taken byte by byte")
		for range 100 { // several deadlines long
			time.Sleep(time.Second)
			b, err := c.in.Peek(c.in.Buffered() + 1)
			if err != nil {
				t.Fatalf("it was cut after %d bytes: %v", len(b), err)
			}
		}
		c.expect(got{event: "message.created", id: at.String()})
	})
}

// A reader that falls behind its queue goes back to the event log. It loses nothing, and nobody waits for it.
func TestOverflowGoesBackToTheLog(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		l.create(ops, "alice", "bob", "carol")
		n := newNode(t, l)
		slow, quick := n.open(t, Options{User: "bob"}), n.open(t, Options{User: "carol"})
		slow.expect(got{event: "stream.ready"})
		quick.expect(got{event: "stream.ready"})
		const posts = 3 * queueFrames
		for i := range posts {
			at := l.post(ops, "alice", fmt.Sprint("message ", i))
			quick.expect(got{event: "message.created", id: at.String()})
		}
		synctest.Wait()
		n.mu.Lock()
		attached := len(n.users["bob"].live)
		n.mu.Unlock()
		if attached != 0 {
			t.Error("the slow stream is still attached: its queue did not overflow")
		}
		for i := range posts {
			slow.expect(got{event: "message.created", data: fmt.Sprintf("message %d\"", i)})
		}
		at := l.post(ops, "alice", "live again")
		slow.expect(got{event: "message.created", id: at.String()})
	})
}

func TestALargeMessageFitsAnyQueue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		l.create(ops, "alice", "bob")
		n := newNode(t, l)
		c := n.open(t, Options{User: "bob"})
		c.expect(got{event: "stream.ready"})
		large := make([]byte, queueBytes+1)
		for i := range large {
			large[i] = 'x'
		}
		for range 3 {
			at := l.post(ops, "alice", string(large))
			c.expect(got{event: "message.created", id: at.String()})
		}
	})
}

// While the event log cannot be read, a stream that catches up stays open and gets heartbeats.
func TestCatchingUpOutlivesAnUnreadableLog(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		from := l.create(ops, "alice", "bob")
		missed := l.post(ops, "alice", "missed")
		n := newNode(t, l)
		l.set(func() { l.down = true })
		c := n.open(t, Options{User: "bob", Resume: &from})
		for range 4 {
			c.expect(got{comment: "hb"})
		}
		l.set(func() { l.down = false })
		c.expect(got{event: "stream.ready", id: from.String(), data: `"resumed":true}`})
		c.expect(got{event: "message.created", id: missed.String()})
		c.expect(got{event: "stream.live", id: missed.String()})
	})
}

func TestAnExpiredPositionIsAReset(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		from := l.create(ops, "alice", "bob")
		at := l.post(ops, "alice", "gone")
		n := newNode(t, l)
		l.set(func() { l.floor = at.Seq })
		c := n.open(t, Options{User: "bob", Resume: &from})
		c.expect(got{
			event: "stream.reset", id: at.String(),
			data: `"reason":"expired","resumed":false,"channels":[{`,
		})
		c.expect(got{event: "message.created", id: l.post(ops, "alice", "new").String()})
	})
}

// LOG rule 17: a catch-up that finds almost nothing for its user moves the cursor anyway.
func TestACatchUpGetsItsPosition(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		from := l.create(ops, "alice", "bob")
		l.create(channelNamed(2), "alice")
		for range 2 * cursorLag {
			l.post(channelNamed(2), "alice", "not for bob")
		}
		mine := l.post(ops, "alice", "for bob")
		for range cursorLag {
			l.post(channelNamed(2), "alice", "not for bob")
		}
		n := newNode(t, l) // its ring is empty
		c := n.open(t, Options{User: "bob", Resume: &from})
		c.expect(got{event: "stream.ready", id: from.String()})
		first := c.expect(got{event: "stream.cursor"})
		if at, err := events.ParseCursor(first.id); err != nil || at.Epoch != from.Epoch ||
			at.Seq < from.Seq+cursorLag || at.Seq >= mine.Seq {
			t.Errorf("got %v, %v; want a position %d or so past %v", at, err, cursorLag, from)
		}
		c.expect(got{event: "stream.cursor"})
		c.expect(got{event: "message.created", id: mine.String()})
		_ = c.conn.Close()
		synctest.Wait()

		l.set(func() { l.reads = 0 })
		at, err := events.ParseCursor(first.id)
		if err != nil {
			t.Fatal(err)
		}
		again := n.open(t, Options{User: "bob", Resume: &at})
		again.expect(got{event: "stream.ready", id: first.id})
		again.expect(got{event: "stream.cursor"})
		again.expect(got{event: "message.created", id: mine.String()})
		again.expect(got{event: "stream.cursor"})
		again.expect(got{event: "stream.live"})
	})
}

// A server that was stopped until retention overtook it ends its streams, and restarts at the floor.
func TestANodeThatRetentionOvertookResetsItsStreams(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		l.create(ops, "alice", "bob")
		n := newNode(t, l)
		c := n.open(t, Options{User: "bob"})
		ready := c.expect(got{event: "stream.ready"})
		l.set(func() { l.blind = true })
		l.post(ops, "alice", "taken")
		gone := l.post(ops, "alice", "taken, too")
		l.post(ops, "alice", "there, but it does not follow")
		l.set(func() { l.blind, l.floor = false, gone.Seq })
		c.expect(got{event: "stream.closing", data: `{"reason":"expired","reconnect":true}`})
		c.expectEnd()
		synctest.Wait()
		last, err := events.ParseCursor(ready.id)
		if err != nil {
			t.Fatal(err)
		}
		again := n.open(t, Options{User: "bob", Resume: &last})
		again.expect(got{event: "stream.reset", id: n.Position().String(), data: `"reason":"expired"`})
		again.expect(got{event: "message.created", id: l.post(ops, "alice", "now").String()})
	})
}

func TestTheSeventeenthStreamIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newNode(t, newMemLog())
		var last *Session
		for range MaxStreams {
			s, err := n.Open(t.Context(), Options{User: "alice"})
			if err != nil {
				t.Fatal(err)
			}
			last = s
		}
		if _, err := n.Open(t.Context(), Options{User: "alice"}); !errors.Is(err, ErrTooManyStreams) {
			t.Errorf("got %v, want %v", err, ErrTooManyStreams)
		}
		last.Abort()
		synctest.Wait()
		if _, err := n.Open(t.Context(), Options{User: "alice"}); err != nil {
			t.Errorf("after one has ended: got %v", err)
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		for s := range n.all {
			s.Abort()
		}
	})
}

// However many streams of a user reconnect at once, only one of them reads the event log at a time, and the
// streams of other users do not wait for it.
func TestOneUserReadsTheLogOnceAtATime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		from := l.create(ops, "alice", "bob", "carol")
		missed := l.post(ops, "alice", "missed")
		var mu sync.Mutex
		now, most := map[string]int{}, map[string]int{}
		l.reading = func(user string) {
			mu.Lock()
			now[user]++
			most[user] = max(most[user], now[user])
			mu.Unlock()
			if user == "bob" {
				time.Sleep(100 * time.Millisecond)
			}
			mu.Lock()
			now[user]--
			mu.Unlock()
		}
		n := newNode(t, l)
		var of []*client
		for range MaxStreams {
			of = append(of, n.open(t, Options{User: "bob", Resume: &from}))
		}
		start := time.Now()
		carol := n.open(t, Options{User: "carol", Resume: &from})
		of = append([]*client{carol}, of...)
		for _, c := range of {
			c.expect(got{event: "stream.ready", data: `"resumed":true}`})
			c.expect(got{event: "message.created", id: missed.String()})
			if took := time.Since(start); c == carol && took > 0 {
				t.Errorf("carol waited %v for bob", took)
			}
		}
		if most["bob"] != 1 {
			t.Errorf("got %d reads of bob at a time, want 1", most["bob"])
		}
	})
}

// TLS cannot continue a write after its deadline. A slow reader over TLS is not cut off either.
func TestASlowReaderOverTLSIsNotCut(t *testing.T) {
	web := httptest.NewTLSServer(nil) // for its certificate
	web.Close()
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		l.create(ops, "alice", "bob")
		n := newNode(t, l)
		s, err := n.Open(t.Context(), Options{User: "bob"})
		if err != nil {
			t.Fatal(err)
		}
		ours, theirs := net.Pipe()
		client := tls.Client(theirs, &tls.Config{InsecureSkipVerify: true})
		t.Cleanup(func() { _ = theirs.Close() })
		server := tls.Server(ours, web.TLS)
		go func() {
			if server.Handshake() == nil {
				serveConn(server, s)
			}
		}()
		in := bufio.NewReaderSize(client, 1000)
		for line := ""; !strings.HasPrefix(line, "id: "); { // of stream.ready
			if line, err = in.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		const size = 60_000
		at := l.post(ops, "alice", strings.Repeat("x", size))
		start, taken := time.Now(), 0
		for b := make([]byte, 1000); taken < size; {
			k, err := in.Read(b)
			if err != nil {
				t.Fatalf("it was cut after %d bytes and %v: %v", taken, time.Since(start), err)
			}
			taken += k
			time.Sleep(time.Second)
		}
		if took := time.Since(start); took < 2*writeTimeout || took > 4*writeTimeout {
			t.Errorf("it took %v, want several deadlines", took)
		}
		if _, err := in.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		if id, err := in.ReadString('\n'); err != nil || id != "id: "+at.String()+"\n" {
			t.Errorf("got %q and error %v, want the id", id, err)
		}
	})
}

// Nothing follows a heartbeat of which the client took only a part: the client would read it as the rest of
// the heartbeat.
func TestNothingFollowsAHeartbeatThatWasCutOff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		l.create(ops, "ann")
		n := newNode(t, l)
		l.set(func() { l.down = true })
		ann := n.open(t, Options{User: "ann"})
		if _, err := io.ReadFull(ann.conn, make([]byte, 2)); err != nil { // of ": hb", at the first heartbeat
			t.Fatal(err)
		}
		time.Sleep(2*writeTimeout + time.Second)
		l.set(func() { l.down = false })
		rest, _ := io.ReadAll(io.LimitReader(ann.conn, 100))
		if len(rest) > 0 {
			t.Errorf("after a part of a heartbeat got %q, want the end of the stream", rest)
		}
	})
}
