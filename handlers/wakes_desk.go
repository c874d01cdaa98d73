package handlers

import (
	"context"
	"net/http"
	"sync"
	"time"

	"fabric-guild/events/live"
	"fabric-guild/handlers/web"
)

// maxClaims is how many claims of one user may wait at once on this server.
const maxClaims = 64

// desks are where claims wait, one for each user who has some. Claims of one user talk to the database one at
// a time; the others wait in memory and hold no connection.
type desks struct {
	router *live.Router
	every  time.Duration // see pollDesk

	mu     sync.Mutex
	byUser map[string]*desk
	claims int           // that wait or are at work, of all users, for metrics
	closed chan struct{} // closed when the server drains
	over   bool
	held   map[*parked]struct{} // claims on connections that were taken over
	left   chan struct{}        // receives when one of held has ended
}

func newDesks(router *live.Router) *desks {
	return &desks{
		router: router, every: pollDesk, byUser: map[string]*desk{}, closed: make(chan struct{}),
		held: map[*parked]struct{}{}, left: make(chan struct{}, 1),
	}
}

// A desk is where the claims of one user wait. It stays for a while after its last claim, with its watch:
// most workers claim again soon, and opening a watch costs a look at the database.
type desk struct {
	all  *desks
	user string
	turn chan struct{} // held by the claim that talks to the database

	claims int         // that wait or are at work; guarded by all.mu
	idle   *time.Timer // removes the desk; runs while no claim is here; guarded by all.mu

	mu       sync.Mutex
	rung     chan struct{} // closed by the next ring
	rings    int           // so far
	message  bool          // a message has rung, and no claim has looked since
	sleeping []*parked     // to kick at each ring, the oldest first
	emptyAt  int           // rings when a claim without a filter last found nothing; -1: none has
	emptied  time.Time     // when that claim looked
	// when a pause or a lease ends, as that claim saw it; zero: nothing is paused or leased
	next  time.Time
	stop  func() // ends the watch
	ended <-chan struct{}
}

// enter adds a claim to the desk of its user; leave must follow. The error is a refusal.
func (x *desks) enter(user string) (*desk, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.over {
		return nil, live.ErrClosed
	}
	d := x.byUser[user]
	if d == nil {
		d = &desk{all: x, user: user, turn: make(chan struct{}, 1), rung: make(chan struct{}), emptyAt: -1}
		x.byUser[user] = d
	}
	if d.claims == maxClaims {
		p := web.NewProblem(http.StatusTooManyRequests, "too_many_claims",
			"%d of your claims wait on this server, which is the limit; let fewer workers wait",
			maxClaims)
		p.RetryAfter = 5
		return nil, p
	}
	if d.claims == 0 {
		d.reopenLocked()
	}
	d.claims++
	x.claims++
	return d, nil
}

// reopenLocked prepares the desk for its first claim. That claim must look at the database itself: while
// nobody was here, rings from other servers may have been lost. d.all.mu is held.
func (d *desk) reopenLocked() {
	if d.idle != nil {
		d.idle.Stop()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.emptyAt = -1
}

func (d *desk) leave() {
	d.all.mu.Lock()
	defer d.all.mu.Unlock()
	d.claims--
	d.all.claims--
	if d.claims == 0 {
		d.idle = time.AfterFunc(deskStays, d.close)
	}
}

// close removes the desk, unless a claim has come meanwhile.
func (d *desk) close() {
	d.all.mu.Lock()
	gone := d.claims == 0 && d.all.byUser[d.user] == d
	if gone {
		delete(d.all.byUser, d.user)
	}
	d.all.mu.Unlock()
	if !gone {
		return
	}
	d.mu.Lock()
	stop := d.stop
	d.stop = nil
	d.ended = nil
	d.mu.Unlock()
	if stop != nil {
		stop()
	}
}

// ring tells the claims of a user on this server that something may be due.
func (x *desks) ring(user string) {
	x.mu.Lock()
	d := x.byUser[user]
	x.mu.Unlock()
	if d != nil {
		d.ring(false)
	}
}

// ring makes the claims that wait look again. message says that a message has passed which wakes the user.
func (d *desk) ring(message bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rings++
	d.message = d.message || message
	for _, p := range d.sleeping {
		p.kick()
	}
	close(d.rung)
	d.rung = make(chan struct{})
}

// look returns the number of rings so far, and a channel that the next ring closes. skip says that since the
// last ring a claim without a filter has found nothing; then next is how long it takes until a pause or a
// lease ends, 0 if none does. For the first look of a claim, that must have been not long ago: a ring from
// another server may have been lost since.
func (d *desk) look(first bool) (rings int, rung <-chan struct{}, skip bool, next time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	skip = d.emptyAt == d.rings && !(first && time.Since(d.emptied) > d.all.every)
	if skip && !d.next.IsZero() {
		next = max(time.Millisecond, time.Until(d.next))
	}
	return d.rings, d.rung, skip, next
}

// takeMessage reports whether a message has rung since the last look of a claim.
func (d *desk) takeMessage() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	had := d.message
	d.message = false
	return had
}

// empty notes that a claim without a filter found nothing after that many rings, and when a pause or a lease
// ends.
func (d *desk) empty(rings int, next time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if rings < d.emptyAt {
		return
	}
	d.emptyAt = rings
	d.emptied = time.Now()
	d.next = time.Time{}
	if next > 0 {
		d.next = d.emptied.Add(next)
	}
}

// watch sees to it that messages which wake the user ring this desk. It is for claims that wait; a claim that
// does not wait needs no watch.
func (d *desk) watch() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended != nil {
		select {
		case <-d.ended: // its position was lost, or the epoch changed: begin again
		default:
			return nil
		}
	}
	stop, ended, err := d.all.router.Watch(d.user, d.ring)
	if err != nil {
		return err
	}
	d.stop, d.ended = stop, ended
	return nil
}

// take waits for the desk's turn to talk to the database.
func (d *desk) take(ctx context.Context) error {
	select {
	case d.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *desk) give() { <-d.turn }

// drain makes all waiting claims answer now.
func (x *desks) drain() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.over {
		x.over = true
		close(x.closed)
		for p := range x.held {
			p.kick()
		}
	}
}

// waiting is how many claims wait on this server.
func (x *desks) waiting() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.claims
}

// pollDesk is how often a claim looks again while rows are leased or paused: a ring from another server may
// be lost.
const pollDesk = 5 * time.Second

// deskStays is how long a desk stays after its last claim.
const deskStays = 15 * time.Second
