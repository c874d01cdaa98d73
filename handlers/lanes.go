package handlers

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Bounds of what one user has under way at once. A request counts until its client has taken the answer, so these
// bound the memory that unread answers hold: a page has at most pageBytes, the answer to a change about 100 KiB.
const (
	readsAtOnce, readsWaiting     = 4, 200
	changesAtOnce, changesWaiting = 64, 1000
	pollsAtOnce                   = 32 // twice the router's bound: the next poll may come before the last one has left

	turnPatience = 5 * time.Second
)

// lanes bounds how many requests of each user are under way at once. Further ones wait for their turn, in order.
type lanes struct {
	atOnce, waiting int // of each user

	mu    sync.Mutex
	users map[string]*lane // those with a request under way
}

type lane struct {
	busy  int
	queue []chan struct{} // each is closed when its turn has come
}

func newLanes(atOnce, waiting int) *lanes {
	return &lanes{atOnce: atOnce, waiting: waiting, users: map[string]*lane{}}
}

// enter waits until it is a request's turn, for turnPatience at most. The caller must call leave, once. The error is
// a refusal, or that of ctx.
func (c *lanes) enter(ctx context.Context, user string) (leave func(), err error) {
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
	return leave, nil // its turn came in the same moment
}

// line takes a place, or a position in the queue of those who wait for one.
func (c *lanes) line(user string) (turn chan struct{}, err error) {
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

// leave hands a place to the one who has waited longest.
func (c *lanes) leave(user string) {
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

// giveUp leaves the queue. It reports false where the turn has come already.
func (c *lanes) giveUp(user string, turn chan struct{}) bool {
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

func (c *lanes) refusal() error {
	p := newProblem(http.StatusTooManyRequests, "too_many_requests",
		"%d of your requests of this kind are under way, which is the limit; read their answers, then try again", c.atOnce)
	p.retryAfter = 1
	return p
}

// admit lets in a request of a user who has proved who they are: within their rate, and once few enough of their
// other requests are under way. What it takes is given back at the end of the request. A route that lasts is
// bounded elsewhere, by the number of streams; here only its rate counts.
func (s *Server) admit(w http.ResponseWriter, r *http.Request, user string) error {
	rate, under := s.rates, s.changing
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		rate, under = s.readRates, s.reading
	}
	rec := recorderOf(w)
	if rec != nil && rec.route.queue {
		rate = s.queueRates
	}
	if err := rate.take(w.Header(), user, time.Now()); err != nil {
		return err
	}
	if rec == nil || rec.route.lasts {
		return nil
	}
	leave, err := under.enter(r.Context(), user)
	if err != nil {
		return err
	}
	rec.place = leave
	if !rec.route.reads {
		return nil
	}
	// After the user's own turn, so that their requests wait for one another and not in everybody's way.
	rec.read, err = s.db.Reading(r.Context())
	return err
}
