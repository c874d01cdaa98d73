package events

import (
	"context"
	"slices"
	"time"
)

const (
	// loadUsers is how many users one read of the log loads: after a deploy all of them come at once.
	loadUsers = 256
	// loadRows is how many memberships of each user such a read returns at most. A user who has more is loaded
	// alone, so that one read costs about the same whoever is in it.
	loadRows = 200
	// soloLoads is how many users are loaded alone at once, soloRows how many memberships a page of one has.
	soloLoads = 2
	soloRows  = 1000
	// soloRetryMax is the longest pause before a user whose load failed is tried again.
	soloRetryMax = 5 * time.Second
	// loadLogInterval is the least time between two log lines about loads that fail.
	loadLogInterval = 10 * time.Second
)

// A load is a user whose intervals the router must learn. It ends when they are known, or when the user's last
// session has ended.
type load struct {
	user  *user
	pause time.Duration // before the next try; 0: no try has failed
	done  chan struct{} // closed when what follows is set

	read  []Membership // all that the user had as of asOf, if whole
	whole bool
	asOf  Cursor // the position that it was read at
}

// load waits until the router knows u's intervals. The first session of a user has them read, together with those
// of others who come at the same time. It gets what was read, for its snapshot, if that was one page (whole). Other
// sessions of the user wait with it. The only error is that of ctx.
func (r *Router) load(ctx context.Context, u *user) (read []Membership, asOf Cursor, whole bool, err error) {
	for {
		r.mu.Lock()
		asOf, state, l, mine := r.at, u.state, u.load, false
		if state == unknown && l == nil {
			l, mine = &load{user: u, done: make(chan struct{})}, true
			u.load = l
			r.enqueue(l)
		}
		r.mu.Unlock()

		if state == ready {
			return nil, asOf, false, nil
		}
		select {
		case <-l.done:
		case <-ctx.Done():
			return nil, asOf, false, ctx.Err()
		}
		if mine {
			return l.read, l.asOf, l.whole, nil
		}
	}
}

// enqueue hands l to the loader, which runs as long as there is something to load. r.mu is held, on behalf of
// a session that has not ended.
func (r *Router) enqueue(l *load) {
	r.loads = append(r.loads, l)
	if !r.loading {
		r.loading = true
		r.ended.Add(1)
		go r.loadAll()
	}
}

func (r *Router) loadAll() {
	defer r.ended.Done()
	for {
		_ = r.read(r.ctx, r.loadSome) // whoever it failed for is tried again alone
		r.mu.Lock()
		if len(r.loads) == 0 || r.ctx.Err() != nil { // closing: every stream ends, so nobody waits any more
			r.loads, r.loading = nil, false
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
	}
}

// loadSome reads the intervals of the next users, as of the router's position. Their own membership events
// wait from then on, and are applied after what was read.
func (r *Router) loadSome(ctx context.Context) error {
	r.mu.Lock()
	batch := slices.Clone(r.loads[:min(loadUsers, len(r.loads))])
	r.loads = slices.Delete(r.loads, 0, len(batch))
	var users []string
	for _, l := range batch {
		r.beginLocked(l)
		users = append(users, l.user.id)
	}
	slices.Sort(users)
	users = slices.Compact(users) // one who waited as the router started anew may wait again
	asOf, floor := r.at.Seq, r.ring.floor
	r.mu.Unlock()
	if len(batch) == 0 {
		return nil // they have all gone
	}

	read, err := r.log.Memberships(ctx, users, asOf, Place{Left: floor}, loadRows)
	known := map[string]intervals{}
	for user, page := range read {
		known[user] = intervalsOf(appendIntervals(nil, page, asOf))
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range batch {
		page := read[l.user.id]
		switch {
		case err != nil:
			r.retryLocked(l, err)
		case len(page) >= loadRows:
			r.abandonLocked(l)
			r.startSoloLocked(l)
		default:
			l.read, l.whole = page, true
			r.learnLocked(l, known[l.user.id])
		}
	}
	return err
}

// appendIntervals appends the intervals of a page as of asOf: the end of one that ended later is still to be routed.
func appendIntervals(list []Interval, page []Membership, asOf int64) []Interval {
	for _, m := range page {
		if m.Left > asOf {
			m.Left = 0
		}
		list = append(list, m.Interval)
	}
	return list
}

// retryLocked gives up a try that failed, and has l loaded alone after a pause.
func (r *Router) retryLocked(l *load, err error) {
	r.abandonLocked(l)
	if r.ctx.Err() != nil {
		return
	}
	l.pause = min(max(2*l.pause, replayRetry), soloRetryMax)
	r.failing++
	if now := time.Now(); r.Logger != nil && now.Sub(r.told) >= loadLogInterval {
		r.told = now
		r.Logger.Warn("memberships of a user could not be read, the user's streams wait; trying again",
			"user", l.user.id, "pause_ms", l.pause.Milliseconds(), "users_waiting", r.failing, "error", err)
	}
	time.AfterFunc(l.pause, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.failing--
		r.startSoloLocked(l)
	})
}

// startSoloLocked starts to load l alone, if somebody still waits for it.
func (r *Router) startSoloLocked(l *load) {
	if !r.wantedLocked(l) {
		return
	}
	r.ended.Add(1) // on behalf of the session that waits
	go r.loadAlone(l)
}

func (r *Router) wantedLocked(l *load) bool {
	return !r.closed && r.users[l.user.id] == l.user && l.user.load == l && !l.user.idleLocked()
}

// loadAlone loads one user page by page, and keeps only what routing needs of each page.
func (r *Router) loadAlone(l *load) {
	defer r.ended.Done()
	select {
	case r.solo <- struct{}{}:
	case <-r.ctx.Done():
		return
	}
	defer func() { <-r.solo }()

	r.mu.Lock()
	if !r.wantedLocked(l) {
		r.mu.Unlock()
		return
	}
	r.beginLocked(l)
	asOf, from := r.at.Seq, Place{Left: r.ring.floor}
	r.mu.Unlock()

	var list []Interval
	var page []Membership
	pages := 0
	for pages == 0 || len(page) == soloRows {
		pages++
		err := r.read(r.ctx, func(ctx context.Context) error {
			read, err := r.log.Memberships(ctx, []string{l.user.id}, asOf, from, soloRows)
			page = read[l.user.id]
			return err
		})
		if err != nil {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.retryLocked(l, err)
			return
		}
		if len(page) > 0 {
			from = from.After(page)
		}
		list = appendIntervals(list, page, asOf)
	}
	known := intervalsOf(list)

	r.mu.Lock()
	defer r.mu.Unlock()
	if pages == 1 {
		l.read, l.whole = page, true
	}
	r.learnLocked(l, known)
}

// beginLocked begins a try as of the router's position: the user's own membership events are kept from here on.
func (r *Router) beginLocked(l *load) { l.asOf, l.user.state = r.at, loading }

// abandonLocked ends a try without a result. The user's sessions still wait for l.
func (r *Router) abandonLocked(l *load) { l.user.state, l.user.missed = unknown, nil }

// learnLocked has the router know what was read of l's user, and what was missed since, and ends the load.
func (r *Router) learnLocked(l *load, known intervals) {
	u := l.user
	missed := u.missed
	r.abandonLocked(l)
	u.load = nil
	close(l.done)
	if r.users[u.id] != u { // all its sessions have ended, or the router has started anew
		return
	}
	u.state, u.intervals = ready, known
	for _, i := range known.all {
		if i.Left == 0 {
			r.route(u, i.ChannelID)
		}
	}
	for _, e := range missed {
		if slices.Contains(e.joined(), u.id) {
			r.join(u, Interval{ChannelID: e.ChannelID, Joined: e.Cursor.Seq})
		} else {
			r.leave(u, e)
		}
	}
}
