package live

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"fabric-guild/events"
)

// A user is one who has a session here, or had one a moment ago. Its intervals are those that last, and those
// of which the ring may still hold events: they are exact for every number that the ring covers. The router's
// mu guards all fields.
type user struct {
	id        string
	intervals events.Intervals
	live      []*Session    // the attached sessions: their catch-up is done
	open      []*Session    // all sessions that count, the oldest first
	watches   int           // the number of sessions without a client, see Watch
	idle      *time.Timer   // drops the user; runs while the user has no sessions
	slot      chan struct{} // bounds how many sessions of the user read the event log at once; made by slotOf
	shared    *snapshot     // what the user's streams share; nil: none
	changed   int64         // the position of the last change of what a snapshot of the user shows
	state     userState
	load      *load           // set until the state is ready
	missed    []*events.Event // the user's own membership events since the load began
}

type userState uint8

const (
	unknown userState = iota
	loading
	ready
)

// A route is a channel with its members who are connected here. The router's mu guards it.
type route struct{ users []*user }

// offerLocked offers e to the user's live sessions. The router's mu is held.
func (u *user) offerLocked(e *events.Event, n *deliveries) {
	var in events.Interval // only edits depend on when an interval that lasts began
	if e.Kind == events.MessageUpdated || e.Kind == events.MessageDeleted {
		in, _ = u.intervals.Of(e)
	}
	for i := len(u.live) - 1; i >= 0; i-- { // backwards, because an overflow removes the session
		u.live[i].offerLocked(e, in, n)
	}
}

// concernedLocked returns the user of that id if e changes the user's intervals now. While the user is being
// loaded, it keeps e for later and returns nil. r.mu is held.
func (r *Router) concernedLocked(id string, e *events.Event) *user {
	u := r.users[id]
	if u == nil || u.state == unknown {
		return nil
	}
	if u.state == loading {
		u.missed = append(u.missed, e)
		return nil
	}
	return u
}

// joinLocked adds an interval that lasts. r.mu is held.
func (r *Router) joinLocked(u *user, i events.Interval) {
	u.intervals.Insert(i)
	r.routeLocked(u, i.ChannelID)
}

// leaveLocked ends the user's interval in the channel of e. r.mu is held.
func (r *Router) leaveLocked(u *user, e *events.Event) {
	if u.intervals.End(e.ChannelID, e.Cursor.Seq) {
		r.unrouteLocked(u, e.ChannelID)
	}
	u.intervals.Forget(r.ring.floor)
}

// routeLocked makes the events of a channel reach the user. r.mu is held.
func (r *Router) routeLocked(u *user, channel uuid.UUID) {
	rt := r.routes[channel]
	if rt == nil {
		rt = &route{}
		r.routes[channel] = rt
	}
	rt.users = append(rt.users, u)
}

// unrouteLocked undoes routeLocked. r.mu is held.
func (r *Router) unrouteLocked(u *user, channel uuid.UUID) {
	rt := r.routes[channel]
	if i := slices.Index(rt.users, u); i >= 0 {
		last := len(rt.users) - 1
		rt.users[i] = rt.users[last]
		rt.users[last] = nil
		rt.users = rt.users[:last]
	}
	if len(rt.users) == 0 {
		delete(r.routes, channel)
	}
}
