package clienttest

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"regexp"
	"sync"
	"testing"
)

// A cut is a place where a connection ends.
type cut struct {
	// at returns the place in the bytes that the server has sent so far, or -1 if it is not there yet. n is a
	// random number from 0 up, one for each connection.
	at   func(sent []byte, n int) int
	hard bool // the client reads an error instead of an end
	// With gateway, the connection ends, and the next one gets a proxy's answer 502.
	gateway bool
}

// message matches a frame of a message. Its groups are the data, the line with the id, and the id.
var message = regexp.MustCompile(`event: message\.created\ndata: ([^\n]*)\n(id: ([0-9.]+)\n)\n`)

// within returns a cut in one of the next frames of a message. place gets the indexes of the groups of
// message.
func within(place func(part []int, n int) int) cut {
	return cut{at: func(sent []byte, n int) int {
		frames := message.FindAllSubmatchIndex(sent, 1+n%20)
		if len(frames) < 1+n%20 {
			return -1
		}
		return place(frames[n%20], n)
	}}
}

var (
	inData     = within(func(part []int, n int) int { return part[2] + n%(part[3]-part[2]) })
	beforeID   = within(func(part []int, _ int) int { return part[4] })
	inID       = within(func(part []int, n int) int { return part[6] + n%(part[7]-part[6]) })
	beforeLast = within(func(part []int, _ int) int { return part[1] - 1 }) // the blank line is missing
	afterFrame = within(func(part []int, _ int) int { return part[1] })
	anywhere   = cut{at: atByte} // also in the headers of the answer
	lost       = cut{at: atByte, hard: true}
	badGateway = cut{at: func(sent []byte, _ int) int { return len(sent) }, gateway: true}
)

// atByte returns a place within the first 5000 bytes.
func atByte(sent []byte, n int) int {
	n %= 5000
	if n < len(sent) {
		return n
	}
	return -1
}

// A cutter is a proxy in front of the server. It passes on all bytes, in pieces, up to the next cut. There it
// ends the connection.
type cutter struct {
	t        *testing.T
	upstream string
	net.Listener

	mu   sync.Mutex
	rand *rand.Rand
	cuts []cut // not made yet
}

// newCutter starts a cutter in front of a server. The cutter ends with the test.
func newCutter(t *testing.T, upstream string, seed uint64) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{t: t, upstream: upstream, Listener: l, rand: rand.New(rand.NewPCG(seed, seed))}
	var all sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		all.Wait()
	})
	all.Go(func() {
		for {
			down, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { c.serve(down) })
		}
	})
	return c
}

// give sets the cuts of the next connections, one for each, in random order.
func (c *cutter) give(cuts ...cut) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rand.Shuffle(len(cuts), func(i, j int) { cuts[i], cuts[j] = cuts[j], cuts[i] })
	c.cuts = cuts
}

// left returns the number of cuts that are not made yet.
func (c *cutter) left() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.cuts)
}

// number returns a random number from 0 up to, but not including, below.
func (c *cutter) number(below int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rand.IntN(below)
}

func (c *cutter) serve(down net.Conn) {
	defer func() { _ = down.Close() }()
	if next := c.next(); next != nil && next.gateway {
		c.made()
		_, _ = http.ReadRequest(bufio.NewReader(down))
		_, _ = io.WriteString(down, "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\n"+
			"Content-Length: 14\r\nConnection: close\r\n\r\n<h1>502</h1>\r\n")
		return
	}
	up, err := net.Dial("tcp", c.upstream)
	if err != nil {
		return // without a server there is no answer
	}
	defer func() { _ = up.Close() }()
	defer context.AfterFunc(c.t.Context(), func() { _ = up.Close() })()
	go func() {
		_, _ = io.Copy(up, down)
		_ = up.Close() // the client is gone
	}()
	c.pass(up, down)
}

// pass copies an answer up to the next cut.
func (c *cutter) pass(up io.Reader, down net.Conn) {
	n := c.number(1 << 20)
	b := make([]byte, 64<<10)
	var sent []byte // bytes from the server since cuts were given
	passed := 0     // how many of these bytes the client has
	for {
		k, err := up.Read(b)
		sent = append(sent, b[:k]...)
		next := c.next()
		if next == nil {
			c.write(down, sent)
			sent = sent[:0]
		} else if at := next.at(sent, n); at >= 0 {
			c.write(down, sent[passed:max(passed, at)])
			if next.hard {
				_ = down.(*net.TCPConn).SetLinger(0)
			}
			if !next.gateway {
				c.made()
			}
			return
		} else if i := bytes.LastIndex(sent, []byte("\n\n")); i >= passed {
			// Pass on only complete frames. An incomplete frame waits, because the place of a cut in it is
			// known only when it is complete.
			c.write(down, sent[passed:i+2])
			passed = i + 2
		}
		if err != nil {
			return
		}
	}
}

// next returns the next cut, or nil.
func (c *cutter) next() *cut {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.cuts) == 0 {
		return nil
	}
	return &c.cuts[0]
}

// made removes the next cut, because it was made.
func (c *cutter) made() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cuts = c.cuts[1:]
}

// write sends b in pieces, so that lines and frames begin in one piece and end in another.
func (c *cutter) write(down net.Conn, b []byte) {
	for len(b) > 0 {
		n := min(len(b), 1+c.number(500))
		if _, err := down.Write(b[:n]); err != nil {
			return
		}
		b = b[n:]
	}
}
