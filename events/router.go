package events

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Errors of Router.Open.
var (
	// ErrTooManyStreams: the user holds MaxStreams already, all of them younger than replaceAfter.
	ErrTooManyStreams = errors.New("too many streams of this user")
	// ErrClosed: the router is closing; another node, or this one after its restart, will serve.
	ErrClosed = errors.New("no new streams: shutting down")
	// ErrNewEpoch: the cursor was checked in an epoch that has ended meanwhile; check it again.
	ErrNewEpoch = errors.New("the database is in another epoch")
)

// MaxStreams is how many connections of one user a node holds at once.
const MaxStreams = 16

// A Router knows the users who are connected here, their channels, and the most recent events. The tailer
// publishes to it; sessions attach to it. Nothing that it does waits for a client or for the database.
//
// Locks go router before session, and neither is held over I/O.
type Router struct {
	Logger *slog.Logger // set before the first stream; nil: nothing is logged

	log  Log
	slot chan struct{}   // bounds how many sessions read the log at once
	solo chan struct{}   // bounds how many users are loaded alone at once
	ctx  context.Context // ends when the router closes
	stop context.CancelFunc

	counters Counters

	mu      sync.Mutex
	at      Cursor // everything up to here has been routed
	ring    ring
	users   map[string]*user
	routes  map[uuid.UUID]*route
	all     map[*Session]struct{}
	loads   []*load // users that wait to be loaded
	loading bool    // the loader runs
	failing int     // loads that wait to be tried again
	told    time.Time
	closed  bool
	ended   sync.WaitGroup // one for each of all, and one for the loader
}

// A user has a session here, or had one a moment ago. Its intervals are those that last, and those that the ring may
// still tell of: exact for every number that the ring covers.
type user struct {
	id        string
	intervals intervals
	live      []*Session    // those attached: their catch-up is done
	open      []*Session    // all that count, the oldest first
	watches   int           // sessions without a client, see Watch
	idle      *time.Timer   // since there were none
	slot      chan struct{} // bounds how many of them read the log at once; made by slotOf
	state     userState
	load      *load    // until it is ready
	missed    []*Event // its own membership events while loading
}

type userState uint8

const (
	unknown userState = iota
	loading
	ready
)

// A route is a channel and its members who are connected here.
type route struct{ users []*user }

// Bounds of how many sessions read the log at once: all of them, so that a storm leaves connections of the
// pool to those who post, and those of one user, so that it leaves places to the others.
const (
	concurrentReads = 6
	readsOfOneUser  = 2
)

// NewRouter returns a router that stands at a position of the log: the next event that is published to it
// is the first one after it.
func NewRouter(log Log, at Cursor) *Router {
	ctx, stop := context.WithCancel(context.Background())
	return &Router{
		log: log, ctx: ctx, stop: stop, slot: make(chan struct{}, concurrentReads), solo: make(chan struct{}, soloLoads),
		at: at, ring: ring{floor: at.Seq},
		users: map[string]*user{}, routes: map[uuid.UUID]*route{}, all: map[*Session]struct{}{},
	}
}

// Position is how far the log has been routed.
func (r *Router) Position() Cursor {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at
}

// Streams is how many connections are open.
func (r *Router) Streams() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.all)
}

// Counters are what the router and its streams have done so far, to be read at any time.
func (r *Router) Counters() *Counters { return &r.counters }

// publish routes the next event.
func (r *Router) publish(e *Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var n deliveries
	defer r.counters.add(SourceLive, &n)
	r.ring.push(e)
	r.at = e.Cursor
	for _, id := range e.joined() {
		if u := r.concerned(id, e); u != nil {
			r.join(u, Interval{ChannelID: e.ChannelID, Joined: e.Cursor.Seq})
		}
	}
	if rt := r.routes[e.ChannelID]; rt != nil {
		for _, u := range rt.users {
			u.offer(e, &n)
		}
	}
	if u := r.users[e.Admin]; u != nil && e.Admin != "" {
		if _, member := u.intervals.of(e); !member {
			u.offer(e, &n)
		}
	}
	if e.Message != nil && (e.Kind == MessageUpdated || e.Kind == MessageDeleted) {
		r.ring.replace(e.Message, e.Gone)
	}
	if e.Kind == MemberLeft {
		if u := r.concerned(e.UserID, e); u != nil {
			r.leave(u, e)
		}
	}
}

func (u *user) offer(e *Event, n *deliveries) {
	var in Interval // of one that lasts only an edit asks when it began
	if e.Kind == MessageUpdated || e.Kind == MessageDeleted {
		in, _ = u.intervals.of(e)
	}
	for i := len(u.live) - 1; i >= 0; i-- { // an overflow takes the session out
		u.live[i].offer(e, in, n)
	}
}

// isFor reports whether user hears e without being a member.
func (e *Event) isFor(user string) bool { return e.Admin != "" && e.Admin == user }

// joined are the users whose interval starts with e.
func (e *Event) joined() []string {
	switch e.Kind {
	case ChannelCreated:
		return e.Joined
	case MemberJoined:
		return []string{e.UserID}
	}
	return nil
}

// concerned returns a user whose intervals e changes now; while they are being loaded e waits.
func (r *Router) concerned(id string, e *Event) *user {
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

func (r *Router) join(u *user, i Interval) {
	u.intervals.insert(i)
	r.route(u, i.ChannelID)
}

func (r *Router) route(u *user, channel uuid.UUID) {
	rt := r.routes[channel]
	if rt == nil {
		rt = &route{}
		r.routes[channel] = rt
	}
	rt.users = append(rt.users, u)
}

func (r *Router) leave(u *user, e *Event) {
	if u.intervals.end(e.ChannelID, e.Cursor.Seq) {
		r.unroute(u, e.ChannelID)
	}
	u.intervals.forget(r.ring.floor)
}

func (r *Router) unroute(u *user, channel uuid.UUID) {
	rt := r.routes[channel]
	if i := slices.Index(rt.users, u); i >= 0 {
		last := len(rt.users) - 1
		rt.users[i], rt.users[last] = rt.users[last], nil
		rt.users = rt.users[:last]
	}
	if len(rt.users) == 0 {
		delete(r.routes, channel)
	}
}

// enter tells the router which life of the database the log was read from, what has survived from the one
// that it knew, and where that life began. Sessions that are beyond what has survived end. It answers false
// when the router itself was: then what it knew is gone, all sessions end, and it starts where the life
// began.
func (r *Router) enter(epoch, base, head int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if epoch == r.at.Epoch {
		return true
	}
	lost := r.at.Seq > base
	r.at.Epoch = epoch
	for s := range r.all {
		if lost || s.from > base { // another node may have served it further than this one had read
			s.Close("reset", true)
		}
	}
	if !lost {
		return true // a restart: numbers go on, ids carry the new epoch from here on
	}
	r.restart(max(base, head))
	return false
}

// expire tells the router the log's floor. It answers true when the router was below: then all sessions end,
// since what came next is lost to them, and it starts at the floor.
func (r *Router) expire(floor int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.at.Seq >= floor {
		return false
	}
	for s := range r.all {
		s.Close(ResetExpired, true)
	}
	r.restart(floor)
	return true
}

// restart forgets all that was read; r.mu is held.
func (r *Router) restart(at int64) {
	r.at.Seq = at
	r.ring.reset(at)
	clear(r.users)
	clear(r.routes)
}

// Close ends every stream with stream.closing and waits for them; at the end of ctx it cuts those that
// still write. No stream can be opened any more.
func (r *Router) Close(ctx context.Context) {
	r.mu.Lock()
	r.closed = true
	for s := range r.all {
		s.Close("drain", true)
	}
	r.mu.Unlock()
	r.stop()
	cut := context.AfterFunc(ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		for s := range r.all {
			s.Abort()
		}
	})
	defer cut()
	r.ended.Wait()
}
