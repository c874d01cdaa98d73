package live

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestAStreamIsRotatedAtItsAge(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		at := l.create(ops, "alice", "bob")
		n := newNode(t, l)
		start := time.Now()
		c := n.open(t, Options{User: "bob", Rotates: start.Add(50 * time.Second)})
		c.expect(got{event: "stream.ready"})
		for range 3 {
			c.expect(got{comment: "hb " + at.String()})
		}
		time.Sleep(time.Until(start.Add(49*time.Second + 999*time.Millisecond)))
		last := l.post(ops, "alice", "just before")
		c.expect(got{event: "message.created", id: last.String()})
		c.expect(got{event: "stream.closing", data: `{"reason":"rotated","reconnect":true}`})
		if d := time.Since(start); d != 50*time.Second {
			t.Errorf("it ended after %v, want 50 s", d)
		}
		c.expectEnd()
		missed := l.post(ops, "alice", "while it was away")
		settle() // else it may be live before the node has read this
		c = n.open(t, Options{User: "bob", Resume: &last})
		c.expect(got{event: "stream.ready"})
		c.expect(got{event: "message.created", id: missed.String()})
	})
}

// A stream is not rotated before it is live: otherwise a long backlog might never end.
func TestAStreamIsNotRotatedWhileItCatchesUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		from := l.create(ops, "alice", "bob")
		missed := l.post(ops, "alice", "missed")
		n := newNode(t, l)
		l.set(func() { l.down = true })
		start := time.Now()
		c := n.open(t, Options{User: "bob", Resume: &from, Rotates: start.Add(20 * time.Second)})
		for range 3 { // at 15, 20 and 35 s
			c.expect(got{comment: "hb"})
		}
		l.set(func() { l.down = false })
		c.expect(got{event: "stream.ready"})
		c.expect(got{event: "message.created", id: missed.String()})
		c.expect(got{event: "stream.live"})
		back := time.Since(start)
		c.expect(got{event: "stream.closing", data: "rotated"})
		if d := time.Since(start); d != back || d > 36*time.Second {
			t.Errorf("it ended after %v, want at once when it was live", d)
		}
		c.expectEnd()
	})
}

// The end of the token wins over the rotation, and does not tell the client to come back.
func TestATokenThatEndsBeforeTheRotation(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newNode(t, newMemLog())
		now := time.Now()
		c := n.open(t, Options{
			User: "bob", Expires: now.Add(5 * time.Second),
			Rotates: now.Add(5 * time.Second),
		})
		c.expect(got{event: "stream.ready"})
		c.expect(got{event: "stream.closing", data: `{"reason":"token_expired","reconnect":false}`})
		c.expectEnd()
		synctest.Wait()
		if got := n.Streams(); got != 0 {
			t.Errorf("got %d streams, want none", got)
		}
	})
}

// A user with MaxStreams streams who opens another one at the first stream.closing is not refused.
func TestAStreamThatSaysGoodbyeHasMadeRoom(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newNode(t, newMemLog())
		var streams []*client
		for i := range MaxStreams {
			streams = append(streams,
				n.open(t, Options{
					User:    "bob",
					Rotates: time.Now().Add(time.Duration(i+1) * time.Millisecond),
				}))
		}
		for _, c := range streams {
			c.expect(got{event: "stream.ready"})
		}
		if _, err := n.Open(t.Context(), Options{User: "bob"}); err == nil {
			t.Fatal("got a stream more than there may be")
		}
		for _, c := range streams {
			if _, err := c.in.Peek(1); err != nil { // the first byte of stream.closing
				t.Fatal(err)
			}
			n.open(t, Options{User: "bob"}).expect(got{event: "stream.ready"})
			c.expect(got{event: "stream.closing"})
			c.expectEnd()
		}
	})
}
