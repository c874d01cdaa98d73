package live

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"fabric-guild/events"
)

// stopped opens a stream whose client is stopped: its kernel still accepts bytes, and nobody reads them.
func (n *node) stopped(t *testing.T) *client {
	t.Helper()
	c := n.open(t, Options{User: "bob"})
	c.expect(got{event: "stream.ready"})
	go func() { _, _ = io.Copy(io.Discard, c.in) }()
	return c
}

func wantFull(t *testing.T, n *node) {
	t.Helper()
	if s, err := n.Open(t.Context(), Options{User: "bob"}); !errors.Is(err, ErrTooManyStreams) {
		t.Fatalf("got %v and error %v, want %v", s, err, ErrTooManyStreams)
	}
}

// Stopped clients do not lock their user out: a new stream takes the place of the oldest one, once that one
// is old enough.
func TestAStoppedClientMakesRoom(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newNode(t, newMemLog())
		start := time.Now()
		oldest := n.open(t, Options{User: "bob"})
		oldest.expect(got{event: "stream.ready"})
		go func() {
			for { // heartbeats
				f, ok := oldest.next()
				if !ok {
					t.Error("got the end of the oldest stream, want stream.closing before it")
					return
				}
				if f.event == "stream.closing" {
					if want := `{"reason":"replaced","reconnect":true}`; f.data != want {
						t.Errorf("got %s, want %s", f.data, want)
					}
					return
				}
			}
		}()
		for range MaxStreams - 1 {
			time.Sleep(time.Second)
			n.stopped(t)
		}
		time.Sleep(time.Until(start.Add(replaceAfter - time.Millisecond)))
		wantFull(t, n)
		time.Sleep(time.Millisecond)
		synctest.Wait() // a heartbeat of this moment is no write under way
		n.stopped(t)
		wantFull(t, n) // the others are younger
		synctest.Wait()
		wantTally(t, "closed", &n.Counters().Closed, map[string]int64{"replaced": 1})
		if got := n.Streams(); got != MaxStreams {
			t.Errorf("got %d streams, want %d", got, MaxStreams)
		}
	})
}

// A client that does not take what is written is replaced first, and is cut off: it would not take a
// stream.closing either.
func TestAStuckClientMakesRoomFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		l.create(ops, "alice", "bob")
		n := newNode(t, l)
		for range MaxStreams - 1 {
			n.stopped(t)
		}
		stuck := n.open(t, Options{User: "bob"})
		stuck.expect(got{event: "stream.ready"})
		until := time.Now().Add(replaceAfter + time.Second)
		for time.Now().Before(until) {
			if f, ok := stuck.next(); !ok || f.event != "" {
				t.Fatalf("got %v, %v, want heartbeats", f, ok)
			}
		}
		l.post(ops, "alice", "not taken")
		synctest.Wait()
		n.stopped(t)
		synctest.Wait()
		wantTally(t, "closed", &n.Counters().Closed, map[string]int64{"replaced": 1})
		if f, ok := stuck.next(); ok {
			t.Errorf("got %v on the stream that was stuck, want its end", f)
		}
	})
}

// One running client too many: all of them share the places, and each is replaced at most once per
// replaceAfter.
func TestLivingClientsDoNotEvictEachOtherInACircle(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newNode(t, newMemLog())
		const hours = 2
		end := time.Now().Add(hours * time.Hour)
		var opened atomic.Int64
		var clients sync.WaitGroup
		for range MaxStreams + 1 {
			clients.Go(func() {
				for time.Now().Before(end) {
					s, err := n.Open(t.Context(), Options{User: "bob"})
					if err != nil {
						time.Sleep(5 * time.Second) // Retry-After
						continue
					}
					opened.Add(1)
					over := make(chan struct{})
					s.opts.Ended = func() { close(over) }
					s.Start(taking{})
					<-over
					time.Sleep(2 * time.Second)
				}
			})
		}
		time.Sleep(time.Until(end))
		replaced := n.Counters().Closed.Counts()["replaced"]
		if most := int64(MaxStreams * hours * int(time.Hour/replaceAfter)); replaced == 0 || replaced > most {
			t.Errorf("got %d streams replaced in %d h, want some and %d at most", replaced, hours, most)
		}
		if got := n.Streams(); got != MaxStreams {
			t.Errorf("got %d streams, want %d", got, MaxStreams)
		}
		if got, want := opened.Load(), replaced+MaxStreams; got != want {
			t.Errorf("got %d streams opened, want %d", got, want)
		}
		n.Router.Close(t.Context())
		clients.Wait()
	})
}

// A taking is a transport whose client takes everything.
type taking struct{}

func (taking) Send([]*events.Frame) error { return nil }
func (taking) Close()                     {}
func (taking) Name() string               { return "taking" }

// The server drops what a client sends on its stream. Too much of it ends the stream.
func TestAClientThatSendsMuchIsCut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		l.create(ops, "alice", "bob")
		n := newNode(t, l)
		c := n.open(t, Options{User: "bob"})
		c.expect(got{event: "stream.ready"})
		if _, err := c.conn.Write(make([]byte, clientInput)); err != nil {
			t.Fatal(err)
		}
		l.post(ops, "alice", "hi")
		c.expect(got{event: "message.created"})
		if sent, err := c.conn.Write(make([]byte, clientInput)); err == nil || sent > inputPiece {
			t.Errorf("got %d bytes taken more and error %v, want the end", sent, err)
		}
		c.expectEnd()
		synctest.Wait()
		wantTally(t, "closed", &n.Counters().Closed, map[string]int64{"flooded": 1})
	})
}
