package db

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// groupLimit bounds a group: each message holds a lock of its own until the commit.
const groupLimit = 64

// A posting is a post on its way.
type posting struct {
	NewMessage
	name  string // of its channel
	post  Post
	err   error
	ready chan bool // true: it is to lead the next group; false: it is done
}

// posts groups what is posted. What comes while a group is under way waits, and is stored together once that
// is done: what a commit costs, above all the wait for the disk, is shared. Under no load a post waits for
// nothing and is a group of its own. (Two groups at once cost a third more per post, on one core.)
//
// There is no goroutine for it: whoever posts first stores the group, and hands the lead to the first of those
// who came in the meantime.
type posts struct {
	store   func(context.Context, []*posting)
	mu      sync.Mutex
	waiting []*posting // each request that posts has one, so requests bound them
	busy    bool       // a group is under way
}

// add stores a message, in a group with others or alone. Once its group is under way it is stored, whether or
// not its client still waits.
func (g *posts) add(ctx context.Context, m NewMessage) (Post, error) {
	p := &posting{NewMessage: m, ready: make(chan bool, 1)}
	g.mu.Lock()
	if g.busy {
		g.waiting = append(g.waiting, p)
		g.mu.Unlock()
		if lead, err := g.await(ctx, p); !lead {
			return p.post, cmp.Or(err, p.err)
		}
		g.mu.Lock()
	}
	g.busy = true
	n := min(len(g.waiting), groupLimit-1)
	group := append([]*posting{p}, g.waiting[:n]...)
	g.waiting = slices.Delete(g.waiting, 0, n)
	g.mu.Unlock()
	defer g.done(group) // also where it panics: others wait
	g.store(context.WithoutCancel(ctx), group)
	return p.post, p.err
}

// await waits until p is done or is to lead, as long as for a connection. With an error p was in no group: it is
// not to turn up once Postgres is back, when its client may have sent it again.
func (g *posts) await(ctx context.Context, p *posting) (lead bool, err error) {
	late := time.NewTimer(acquireTimeout)
	defer late.Stop()
	select {
	case lead = <-p.ready:
		return lead, nil
	case <-late.C:
		err = context.DeadlineExceeded
	case <-ctx.Done():
		err = ctx.Err()
	}
	g.mu.Lock()
	i := slices.Index(g.waiting, p)
	if i >= 0 {
		g.waiting = slices.Delete(g.waiting, i, i+1)
	}
	g.mu.Unlock()
	if i < 0 {
		return <-p.ready, nil
	}
	return false, fmt.Errorf("%w: the posts before this one are not stored yet: %w", ErrUnavailable, err)
}

// done lets the group go, and one of those who wait lead the next.
func (g *posts) done(group []*posting) {
	g.mu.Lock()
	if len(g.waiting) > 0 {
		g.waiting[0].ready <- true
		g.waiting = slices.Delete(g.waiting, 0, 1)
	} else {
		g.busy = false
	}
	g.mu.Unlock()
	for _, other := range group[1:] {
		other.ready <- false
	}
}

// storePosts stores a group. One message that Postgres can't take must not take the others with it.
func (d *DB) storePosts(ctx context.Context, group []*posting) {
	defer d.ring() // last, so that the tailer finds them noted
	err := d.inEpoch(ctx, func() error { return d.storeGroup(ctx, group) })
	if c := code(err); len(group) > 1 && (strings.HasPrefix(c, "22") || strings.HasPrefix(c, "23")) { // data, integrity: nothing was stored
		for i, p := range group {
			if d.storePosts(ctx, group[i:i+1]); errors.Is(p.err, ErrUnavailable) {
				for _, rest := range group[i+1:] { // not one after the other: each would wait for long
					rest.err = p.err
				}
				return
			}
		}
		return
	}
	for _, p := range group {
		if err != nil {
			p.err = err
		}
		if p.err == nil {
			d.own.add(p)
		}
	}
}

// storeGroup needs no transaction of its own: it is one statement. It may have been carried out also where
// it returns an error of the connection.
func (d *DB) storeGroup(ctx context.Context, group []*posting) error {
	for _, p := range group {
		if p.err = errNotStored; p.TwoState != group[0].TwoState || p.TurnUserID != "" {
			return errors.New("posts of different kinds in one group")
		}
	}
	c, err := acquire(ctx, d.pool)
	if err != nil {
		return err
	}
	ctx, cancel := finish(ctx)
	defer cancel()
	defer c.Release()
	return postAll(ctx, c, group, new(lockChannel), false)
}

// errNotStored stands until it is known what became of a post.
var errNotStored = errors.New("the group of this post was given up")
