package edge

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"fabric-guild/handlers/web"
)

// turnPatience is how long a request waits for its turn before it is refused.
const turnPatience = 5 * time.Second

// Lanes limits how many requests of each user are in progress at once. Further requests of the same user wait
// in order of arrival.
type Lanes struct {
	atOnce, waiting int // limits for each user: requests in progress, and requests that wait

	mu    sync.Mutex
	users map[string]*lane // users with a request in progress
}

// A lane is the state of one user.
type lane struct {
	busy  int             // requests in progress
	queue []chan struct{} // one for each waiting request, closed when its turn comes
}

// NewLanes returns lanes with these limits for each user: requests in progress, and requests that wait.
func NewLanes(atOnce, waiting int) *Lanes {
	return &Lanes{atOnce: atOnce, waiting: waiting, users: map[string]*lane{}}
}

// Enter waits for the turn of a request, for at most turnPatience. If err is nil, the caller must call leave
// exactly once. Otherwise the error is the refusal too_many_requests, or the error of ctx.
func (c *Lanes) Enter(ctx context.Context, user string) (leave func(), err error) {
	turn, err := c.line(user)
	if err != nil {
		return nil, err
	}
	leave = func() { c.leave(user) }
	if turn == nil {
		return leave, nil
	}
	late := time.NewTimer(turnPatience)
	defer late.Stop()
	select {
	case <-turn:
		return leave, nil
	case <-late.C:
		err = c.refusal()
	case <-ctx.Done():
		err = ctx.Err()
	}
	if c.giveUp(user, turn) {
		return nil, err
	}
	return leave, nil // the turn came at the same moment, and the request now has a place
}

// line takes a place if one is free, and returns nil. Otherwise it joins the queue, and returns the channel
// that is closed when the turn comes. The error is the refusal, if the queue is full.
func (c *Lanes) line(user string) (turn chan struct{}, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := c.users[user]
	if u == nil {
		u = &lane{}
		c.users[user] = u
	}
	switch {
	case u.busy < c.atOnce:
		u.busy++
		return nil, nil
	case len(u.queue) >= c.waiting:
		return nil, c.refusal()
	}
	turn = make(chan struct{})
	u.queue = append(u.queue, turn)
	return turn, nil
}

// leave gives the place to the request that has waited longest, or frees the place if no request waits.
func (c *Lanes) leave(user string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := c.users[user]
	if len(u.queue) > 0 {
		close(u.queue[0])
		u.queue = slices.Delete(u.queue, 0, 1)
		return
	}
	if u.busy--; u.busy == 0 {
		delete(c.users, user)
	}
}

// giveUp removes a request from the queue. It returns false if the turn has come already: the request then
// has a place.
func (c *Lanes) giveUp(user string, turn chan struct{}) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := c.users[user]
	if u == nil {
		return false
	}
	i := slices.Index(u.queue, turn)
	if i < 0 {
		return false
	}
	u.queue = slices.Delete(u.queue, i, i+1)
	return true
}

func (c *Lanes) refusal() error {
	p := web.NewProblem(http.StatusTooManyRequests, "too_many_requests",
		"%d of your requests of this kind are in progress, which is the limit; read their answers, then "+
			"try again", c.atOnce)
	p.RetryAfter = 1
	return p
}
