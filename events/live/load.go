package live

import (
	"context"
	"slices"
	"time"

	"fabric-guild/events"
)

const (
	// loadUsers is how many users one read of the event log loads: after a deploy all users reconnect at
	// once.
	loadUsers = 256
	// loadRows is how many memberships of each user such a read returns at most. A user with more is loaded
	// alone, so that every read costs about the same.
	loadRows = 200
	// soloLoads is how many users are loaded alone at once.
	soloLoads = 2
	// soloRows is how many memberships a page of such a load has.
	soloRows = 1000
	// soloRetryMax is the longest backoff before a failed load is retried.
	soloRetryMax = 5 * time.Second
	// loadLogInterval is the least time between two log lines about failed loads.
	loadLogInterval = 10 * time.Second
)

// A load reads the intervals of a user for the router. It ends when the router knows them, or when the user's
// last session has ended.
type load struct {
	user  *user
	pause time.Duration // the backoff before the next try; 0: no try has failed
	done  chan struct{} // closed when the fields below are set

	read  []events.Membership // if whole: all memberships of the user as of asOf
	whole bool
	asOf  events.Cursor // the position of the read
}

// load blocks until the router knows u's intervals. The first session of a user starts the read, together
// with those of other users who connect at the same time. It gets the memberships that were read, for its
// snapshot, if they were one page (whole). Other sessions of the user wait for the same read. The only error
// is that of ctx.
func (r *Router) load(
	ctx context.Context, u *user,
) (read []events.Membership, asOf events.Cursor, whole bool, err error) {
	for {
		r.mu.Lock()
		asOf := r.at
		state := u.state
		l := u.load
		mine := state == unknown && l == nil
		if mine {
			l = &load{user: u, done: make(chan struct{})}
			u.load = l
			r.enqueueLocked(l)
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

// enqueueLocked hands l to the loader, which runs as long as there is something to load. r.mu is held. The
// session that waits for l has not ended, so r.ended may grow.
func (r *Router) enqueueLocked(l *load) {
	r.loads = append(r.loads, l)
	if !r.loading {
		r.loading = true
		r.ended.Add(1)
		go r.loadAll()
	}
}

// loadAll is the loader.
func (r *Router) loadAll() {
	defer r.ended.Done()
	for {
		_ = r.read(r.ctx, r.loadSome) // if it fails, loadSome has arranged the retries
		r.mu.Lock()
		// when the router closes, every stream ends, so nobody waits
		if len(r.loads) == 0 || r.ctx.Err() != nil {
			r.loads = nil
			r.loading = false
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
	}
}

// loadSome reads the intervals of the next users, as of the router's position. From then on the router keeps
// the users' own membership events, and applies them after the read.
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
	users = slices.Compact(users) // a user can be in the batch twice after the router has restarted
	asOf, floor := r.at.Seq, r.ring.floor
	r.mu.Unlock()
	if len(batch) == 0 {
		return nil // all of their sessions have ended
	}

	read, err := r.log.Memberships(ctx, users, asOf, events.Place{Left: floor}, loadRows)
	known := map[string]events.Intervals{}
	for user, page := range read {
		known[user] = events.NewIntervals(appendIntervals(nil, page, asOf))
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
			l.read = page
			l.whole = true
			r.learnLocked(l, known[l.user.id])
		}
	}
	return err
}

// appendIntervals appends the intervals of a page as of asOf. An interval that ended later stays open: the
// router has yet to read its end.
func appendIntervals(all []events.Interval, page []events.Membership, asOf int64) []events.Interval {
	for _, m := range page {
		if m.Left > asOf {
			m.Left = 0
		}
		all = append(all, m.Interval)
	}
	return all
}

// retryLocked ends a try that failed, and loads l alone after a pause. r.mu is held.
func (r *Router) retryLocked(l *load, err error) {
	r.abandonLocked(l)
	if r.ctx.Err() != nil {
		return
	}
	l.pause = min(max(2*l.pause, replayRetry), soloRetryMax)
	r.failing++
	now := time.Now()
	if r.Logger != nil && now.Sub(r.told) >= loadLogInterval {
		r.told = now
		r.Logger.Warn("reading the memberships of a user failed; the user's streams wait until a "+
			"retry succeeds",
			"user", l.user.id, "pause_ms", l.pause.Milliseconds(), "users_waiting", r.failing, "error", err)
	}
	time.AfterFunc(l.pause, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.failing--
		r.startSoloLocked(l)
	})
}

// startSoloLocked starts to load l alone, if a session still waits for it. r.mu is held.
func (r *Router) startSoloLocked(l *load) {
	if !r.wantedLocked(l) {
		return
	}
	r.ended.Add(1) // safe: the session that waits has not ended
	go r.loadAlone(l)
}

// wantedLocked reports whether a session still waits for l. r.mu is held.
func (r *Router) wantedLocked(l *load) bool {
	return !r.closed && r.users[l.user.id] == l.user && l.user.load == l && !l.user.idleLocked()
}

// loadAlone loads one user page by page. It keeps only what routing needs of each page.
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
	asOf := r.at.Seq
	from := events.Place{Left: r.ring.floor}
	r.mu.Unlock()

	var all []events.Interval
	var page []events.Membership
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
		all = appendIntervals(all, page, asOf)
	}
	known := events.NewIntervals(all)

	r.mu.Lock()
	defer r.mu.Unlock()
	if pages == 1 {
		l.read = page
		l.whole = true
	}
	r.learnLocked(l, known)
}

// beginLocked begins a try as of the router's position. From here on the router keeps the user's own
// membership events. r.mu is held.
func (r *Router) beginLocked(l *load) {
	l.asOf = r.at
	l.user.state = loading
}

// abandonLocked ends a try without a result. The user's sessions still wait for l. r.mu is held.
func (r *Router) abandonLocked(l *load) {
	l.user.state = unknown
	l.user.missed = nil
}

// learnLocked gives the router the intervals that were read, applies the events since, and ends the load.
// r.mu is held.
func (r *Router) learnLocked(l *load, known events.Intervals) {
	u := l.user
	missed := u.missed
	r.abandonLocked(l)
	u.load = nil
	close(l.done)
	if r.users[u.id] != u { // all of its sessions have ended, or the router has restarted
		return
	}
	u.state = ready
	u.intervals = known
	for channel := range known.Open() {
		r.routeLocked(u, channel)
	}
	for _, e := range missed {
		if slices.Contains(e.Joiners(), u.id) {
			r.joinLocked(u, events.Interval{ChannelID: e.ChannelID, Joined: e.Cursor.Seq})
		} else {
			r.leaveLocked(u, e)
		}
	}
	u.changed = r.at.Seq // other events of the user's channels have passed since the read
}
