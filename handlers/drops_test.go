package handlers_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	writers, rooms = 8, 6
	each, breaks   = 50, 30               // messages by a writer, and broken connections, at the least
	pace           = 8 * time.Millisecond // of each writer
)

// Eight writers over six channels, and a reader whose connection breaks at random bytes or times.
func TestAReaderThatIsDroppedAtRandomMissesNothing(t *testing.T) {
	long(t)
	t.Parallel()
	overTransports(t, func(t *testing.T, n *node, over transport) {
		dropAtRandom(t, over, n)
	})
}

// The same with the writers and the reader at two nodes of one database, by turns.
func TestAReaderThatChangesNodesMissesNothing(t *testing.T) {
	long(t)
	t.Parallel()
	first := start(t, setup{})
	second := start(t, setup{database: first.database, state: first.state, r3labs: true})
	for _, over := range transports[:2] {
		dropAtRandom(t, over, first, second)
	}
}

func dropAtRandom(t *testing.T, over transport, nodes ...*node) {
	t.Helper()
	alice := nodes[0].user("alice")
	var channels []string
	var from string
	for i := range rooms {
		members := []string{"alice"}
		for w := range writers {
			members = append(members, fmt.Sprint("writer", w))
		}
		c := nodes[0].user("writer0").general(t, fmt.Sprint("room ", i), members...)
		channels, from = append(channels, c.Channel.ID), c.Cursor
	}

	acknowledged := make([][]string, writers)
	var broken atomic.Int64
	written := make(chan struct{})
	var work sync.WaitGroup
	for w := range writers {
		work.Go(func() {
			u := nodes[w%len(nodes)].user(fmt.Sprint("writer", w))
			tick := time.NewTicker(pace)
			defer tick.Stop()
			for n := 0; (n < each || broken.Load() < breaks) && !t.Failed(); n++ {
				content := strings.Repeat(fmt.Sprint(u.id, " "), 1+rand.IntN(40))
				p, err := ask[posted](u, 201, "POST", "/api/channels/"+channels[rand.IntN(rooms)]+"/messages", body{"content": content})
				if err != nil {
					t.Error(err)
					return
				}
				acknowledged[w] = append(acknowledged[w], p.Cursor)
				<-tick.C
			}
		})
	}
	go func() {
		work.Wait()
		close(written)
	}()

	var got []string
	var connections int
	last := from
	for writes := true; writes && !t.Failed(); connections++ {
		select {
		case <-written:
			writes = false // once more, to the end
		default:
		}
		u := alice.at(nodes[connections%len(nodes)])
		s, err := u.connect(over, "", "Last-Event-ID", last)
		if err != nil {
			t.Fatal(err)
		}
		until := ""
		if writes {
			s.in = bufio.NewReader(&cut{s.in, 1 + rand.IntN(60000)})
			time.AfterFunc(time.Duration(rand.IntN(300))*time.Millisecond, s.cancel)
		} else {
			until = slices.MaxFunc(slices.Concat(acknowledged...), bySeq)
		}
		if seq(until) > 0 && seq(last) >= seq(until) {
			s.close()
			break
		}
		for {
			f, err := s.read()
			// Over TLS a client says goodbye, and may still get to read the server's.
			if writes && (errors.Is(err, errCut) || errors.Is(err, context.Canceled) || over.tls && errors.Is(err, io.EOF)) {
				broken.Add(1)
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if f.id != "" {
				last = f.id
			}
			if strings.HasPrefix(f.event, "stream.") {
				continue
			}
			if got = append(got, f.id); f.id == until {
				break
			}
		}
		s.close()
	}
	work.Wait()
	want := slices.SortedFunc(slices.Values(slices.Concat(acknowledged...)), bySeq)
	t.Logf("%d messages, %d connections, %d of which broke", len(want), connections, broken.Load())
	if len(want) < 200 || broken.Load() < 5 {
		t.Errorf("got %d messages and %d broken connections, too few to tell anything", len(want), broken.Load())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-acknowledged +heard):\n%s", diff)
	}
}

func bySeq(a, b string) int { return int(seq(a) - seq(b)) }

var errCut = errors.New("the connection breaks here")

// A cut is a connection that breaks after so many bytes.
type cut struct {
	from io.Reader
	left int
}

func (c *cut) Read(b []byte) (int, error) {
	if c.left <= 0 {
		return 0, errCut
	}
	n, err := c.from.Read(b[:min(len(b), c.left)])
	c.left -= n
	return n, err
}
