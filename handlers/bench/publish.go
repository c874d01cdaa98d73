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

// epoch is what times in messages count from: publishers and streams are in this process, so no clock is
// compared with another.
var epoch = time.Now()

// contentSize is that of a message, in bytes.
const contentSize = 200

const mark = "bench@"

// contentOf is a message that tells when it was to be sent.
func contentOf(at time.Duration) string {
	text := mark + strconv.FormatInt(int64(at), 10) + " "
	return text + strings.Repeat("x", contentSize-len(text))
}

// sentAt finds that again in a line of a stream.
func sentAt(line []byte) (at time.Duration, ok bool) {
	_, after, ok0 := bytes.Cut(line, []byte(mark))
	if !ok0 {
		return 0, false
	}
	rest := after
	before, _, ok0 := bytes.Cut(rest, []byte{' '})
	if !ok0 {
		return 0, false
	}
	ns, err := strconv.ParseInt(string(before), 10, 64)
	return time.Duration(ns), err == nil
}

// A load is what is to be posted: at a rate, or one after the other on each connection as fast as they are
// answered; for some time, or a number of times.
type load struct {
	conns   int
	rate    float64 // a second; 0: as fast as it goes
	last    time.Duration
	count   int64
	channel func(n int64) (channel, token string)
}

// A posted load is what became of one.
type posted struct {
	acked   int64
	latency hist // from when a post was to be sent, to its answer
	took    time.Duration
}

// publish posts a load. The first post that fails ends it.
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
				if l.count > 0 && n >= l.count || l.last > 0 && due.Sub(start) >= l.last {
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
	p.acked, p.took = acked.Load(), time.Since(start)
	return &p, context.Cause(ctx)
}

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
