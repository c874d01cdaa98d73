package bench

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// epoch is the zero of the times in messages. Publishers and streams are in the same process, so all times
// come from the same clock.
var epoch = time.Now()

// contentSize is the size of a message, in bytes.
const contentSize = 200

// mark begins the messages of a run.
const mark = "bench@"

// contentOf returns a message that contains the time at which it was due.
func contentOf(at time.Duration) string {
	text := mark + strconv.FormatInt(int64(at), 10) + " "
	return text + strings.Repeat("x", contentSize-len(text))
}

// sentAt returns the time in a message of a run. line is a line of a stream.
func sentAt(line []byte) (at time.Duration, ok bool) {
	_, rest, marked := bytes.Cut(line, []byte(mark))
	if !marked {
		return 0, false
	}
	number, _, ended := bytes.Cut(rest, []byte{' '})
	if !ended {
		return 0, false
	}
	ns, err := strconv.ParseInt(string(number), 10, 64)
	return time.Duration(ns), err == nil
}

// A load says what to post. Every connection posts one message after the other, at a fixed total rate or as
// fast as the server answers. The load ends after a time or after a number of posts.
type load struct {
	conns int
	rate  float64       // posts per second; 0 means as fast as the server answers
	last  time.Duration // how long to post; 0 means no limit
	count int64         // number of posts; 0 means no limit
	// channel returns the channel of the n-th post and the token of its author.
	channel func(n int64) (channel, token string)
}

// A posted is the result of a load.
type posted struct {
	acked   int64 // posts that the server acknowledged
	latency hist  // time from when a post was due to its answer
	took    time.Duration
}

// post posts a load and blocks until it has ended. The first failed post ends the load.
func (b *run) post(ctx context.Context, l load) (*posted, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var p posted
	var next, acked atomic.Int64
	start := time.Now()
	var posting sync.WaitGroup
	for range l.conns {
		posting.Go(func() {
			for ctx.Err() == nil {
				n := next.Add(1) - 1
				due := time.Now()
				if l.rate > 0 {
					due = start.Add(time.Duration(float64(n) / l.rate * float64(time.Second)))
				}
				if l.count > 0 && n >= l.count {
					return
				}
				if l.last > 0 && due.Sub(start) >= l.last {
					return
				}
				if !pause(ctx, time.Until(due)) {
					return
				}
				channel, token := l.channel(n)
				if err := b.target.post(ctx, token, channel, contentOf(due.Sub(epoch))); err != nil {
					cancel(fmt.Errorf("post: %w", err))
					return
				}
				acked.Add(1)
				p.latency.add(time.Since(due))
			}
		})
	}
	posting.Wait()
	p.acked = acked.Load()
	p.took = time.Since(start)
	return &p, context.Cause(ctx)
}

// pause blocks for d. It returns false if ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
