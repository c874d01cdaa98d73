package events

import (
	"context"
	"slices"
)

// loadUsers is how many users one read of the log loads: after a deploy all of them come at once.
const loadUsers = 256

// A load is a user whose intervals the router is to learn.
type load struct {
	user *user
	done chan struct{} // closed when what follows is set

	read []Membership
	asOf Cursor // the position that it was read at
	err  error
}

// load sees to it that the router knows u's intervals. The first session of a user has them read, together
// with those of others who come at the same time, and gets what was read, for its snapshot. The other sessions
// wait for it, and try themselves if it did not succeed.
func (r *Router) load(ctx context.Context, u *user) (read []Membership, asOf Cursor, loaded bool, err error) {
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
			return l.read, l.asOf, true, l.err
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
		_ = r.read(r.ctx, r.loadSome) // those who wait are told, and try again
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
	asOf, floor := r.at, r.ring.floor
	var users []string
	for _, l := range batch {
		l.asOf, l.user.state = asOf, loading
		users = append(users, l.user.id)
	}
	slices.Sort(users)
	users = slices.Compact(users) // one who waited as the router started anew may wait again
	r.mu.Unlock()
	if len(batch) == 0 {
		return nil // they have all gone
	}

	read, err := r.log.Snapshot(ctx, users, asOf.Seq, floor)

	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range batch {
		r.learn(l.user, read[l.user.id], asOf.Seq, err)
		l.finish(read[l.user.id], err)
	}
	return err
}

func (l *load) finish(read []Membership, err error) {
	l.user.load, l.read, l.err = nil, read, err
	close(l.done)
}

// learn has the router know what was read of u, and what was missed since. r.mu is held.
func (r *Router) learn(u *user, read []Membership, asOf int64, err error) {
	missed := u.missed
	u.missed = nil
	if err != nil || r.users[u.id] != u { // or all its sessions have ended, or the router has started anew
		u.state = unknown
		return
	}
	u.state = ready
	for _, m := range read {
		if m.Left != 0 && m.Left <= asOf {
			u.insert(m.Interval) // for the ring only
			continue
		}
		r.join(u, Interval{ChannelID: m.ChannelID, Joined: m.Joined}) // its end, if there is one, is yet to be routed
	}
	for _, e := range missed {
		if slices.Contains(e.joined(), u.id) {
			r.join(u, Interval{ChannelID: e.ChannelID, Joined: e.Cursor.Seq})
		} else {
			r.leave(u, e)
		}
	}
}
