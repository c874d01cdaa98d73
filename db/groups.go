package db

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// groups does the work of requests in groups, one group at a time. Work that arrives while a group is being
// done waits, and forms the next group. So requests share the cost of a round trip and of a commit. Without
// load, work does not wait, and is a group of its own.
//
// There is no goroutine for this. The first request does the work of the group, and then makes the first
// waiting request the leader of the next group.
type groups[T grouped] struct {
	do     func(ctx context.Context, group []T)
	choose func(lead T, waiting []T) (group []T) // lead and some of those that wait

	mu      sync.Mutex
	waiting []T  // each request has one, so the number of requests bounds them
	busy    bool // a group is being done
}

// grouped is work that embeds a seat.
type grouped interface {
	comparable
	seated() *seat
}

// A seat is how work waits for its group.
type seat struct{ ready chan bool } // true: it must lead the next group; false: it is done

func newSeat() seat { return seat{make(chan bool, 1)} }

func (s *seat) seated() *seat { return s }

// add does work, in a group with others or alone. Once its group has begun, the work is done, even if its
// client is gone. add waits for the groups before it for up to acquireTimeout. If it returns an error, the
// work was in no group.
func (g *groups[T]) add(ctx context.Context, work T) error {
	g.mu.Lock()
	if g.busy {
		g.waiting = append(g.waiting, work)
		g.mu.Unlock()
		if lead, err := g.await(ctx, work); !lead {
			return err
		}
		g.mu.Lock()
	} else {
		g.busy = true
	}
	group := g.choose(work, g.waiting)
	g.waiting = slices.DeleteFunc(g.waiting, func(w T) bool { return slices.Contains(group, w) })
	g.mu.Unlock()
	defer g.done(group) // after a panic too: others wait
	g.do(context.WithoutCancel(ctx), group)
	return nil
}

// await waits until work is done or must lead, for up to acquireTimeout. If it returns an error, work is in
// no group. It must not be done later, once Postgres is back: its client may have asked again by then.
func (g *groups[T]) await(ctx context.Context, work T) (lead bool, err error) {
	ready := work.seated().ready
	late := time.NewTimer(acquireTimeout)
	defer late.Stop()
	select {
	case lead = <-ready:
		return lead, nil
	case <-late.C:
		err = context.DeadlineExceeded
	case <-ctx.Done():
		err = ctx.Err()
	}
	g.mu.Lock()
	i := slices.Index(g.waiting, work)
	if i >= 0 {
		g.waiting = slices.Delete(g.waiting, i, i+1)
	}
	g.mu.Unlock()
	if i < 0 {
		return <-ready, nil
	}
	return false, fmt.Errorf("%w: those before this one are not done yet: %w", ErrUnavailable, err)
}

// done releases the requests of the group, and makes the first waiting request the next leader.
func (g *groups[T]) done(group []T) {
	g.mu.Lock()
	if len(g.waiting) > 0 {
		g.waiting[0].seated().ready <- true
		g.waiting = slices.Delete(g.waiting, 0, 1)
	} else {
		g.busy = false
	}
	g.mu.Unlock()
	for _, other := range group[1:] {
		other.seated().ready <- false
	}
}

// errNotDone is the error of a post or a claim until its result is known.
var errNotDone = errors.New("the group of this request was not done")
