package streamtest_test

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

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers/e2e/nodetest"
)

const (
	writers, rooms = 8, 6
	each, breaks   = 50, 30               // messages by a writer, and broken connections, at the least
	pace           = 8 * time.Millisecond // of each writer
)

// Eight writers over six channels, and a reader whose connection breaks at random bytes or times.
func TestAReaderThatIsDroppedAtRandomMissesNothing(t *testing.T) {
	dbtest.Long(t)
	t.Parallel()
	nodetest.OverTransports(t, func(t *testing.T, n *nodetest.Node, over nodetest.Transport) {
		dropAtRandom(t, over, n)
	})
}

// The same with two nodes of one database. Writers and reader alternate between the nodes.
func TestAReaderThatChangesNodesMissesNothing(t *testing.T) {
	dbtest.Long(t)
	t.Parallel()
	first := nodetest.Start(t, nodetest.Setup{})
	second := nodetest.Start(t, nodetest.Setup{Database: first.Database, State: first.State, R3labs: true})
	for _, over := range nodetest.Transports[:2] {
		dropAtRandom(t, over, first, second)
	}
}

func dropAtRandom(t *testing.T, over nodetest.Transport, nodes ...*nodetest.Node) {
	t.Helper()
	alice := nodes[0].User("alice")
	var channels []string
	var from string
	for i := range rooms {
		members := []string{"alice"}
		for w := range writers {
			members = append(members, fmt.Sprint("writer", w))
		}
		c := nodes[0].User("writer0").General(t, fmt.Sprint("room ", i), members...)
		channels, from = append(channels, c.Channel.ID), c.Cursor
	}

	acknowledged := make([][]string, writers)
	var broken atomic.Int64
	written := make(chan struct{})
	var work sync.WaitGroup
	for w := range writers {
		work.Go(func() {
			u := nodes[w%len(nodes)].User(fmt.Sprint("writer", w))
			tick := time.NewTicker(pace)
			defer tick.Stop()
			for n := 0; (n < each || broken.Load() < breaks) && !t.Failed(); n++ {
				content := strings.Repeat(fmt.Sprint(u.ID, " "), 1+rand.IntN(40))
				p, err := nodetest.Ask[nodetest.Posted](u, 201, "POST",
					"/api/channels/"+channels[rand.IntN(rooms)]+"/messages",
					nodetest.Body{"content": content})
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
		u := alice.At(nodes[connections%len(nodes)])
		s, err := u.Connect(over, "", "Last-Event-ID", last)
		if err != nil {
			t.Fatal(err)
		}
		until := ""
		if writes {
			s.In = bufio.NewReader(&cut{s.In, 1 + rand.IntN(60000)})
			time.AfterFunc(time.Duration(rand.IntN(300))*time.Millisecond, s.Cancel)
		} else {
			until = slices.MaxFunc(slices.Concat(acknowledged...), bySeq)
		}
		if nodetest.Seq(until) > 0 && nodetest.Seq(last) >= nodetest.Seq(until) {
			s.Close()
			break
		}
		for {
			f, err := s.Read()
			// Over TLS a client says goodbye, and may still get to read the server's.
			if writes && (errors.Is(err, errCut) || errors.Is(err, context.Canceled) ||
				over.TLS && errors.Is(err, io.EOF)) {
				broken.Add(1)
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if f.ID != "" {
				last = f.ID
			}
			if strings.HasPrefix(f.Event, "stream.") {
				continue
			}
			if got = append(got, f.ID); f.ID == until {
				break
			}
		}
		s.Close()
	}
	work.Wait()
	want := slices.SortedFunc(slices.Values(slices.Concat(acknowledged...)), bySeq)
	t.Logf("%d messages, %d connections, %d of which broke", len(want), connections, broken.Load())
	if len(want) < 200 || broken.Load() < 5 {
		t.Errorf("got %d messages and %d broken connections, too few to tell anything", len(want),
			broken.Load())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-acknowledged +heard):\n%s", diff)
	}
}

func bySeq(a, b string) int { return int(nodetest.Seq(a) - nodetest.Seq(b)) }

var errCut = errors.New("the connection breaks here")

// A cut is a connection that breaks after a number of bytes.
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
