package live

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"fabric-guild/events"
)

// The errors of Router.Open.
var (
	// ErrTooManyStreams: the user has MaxStreams streams, and all of them are too young to be replaced.
	ErrTooManyStreams = errors.New("the user has too many streams")
	// ErrClosed: the router is closing. The client should come back, to another server or to this one after
	// its restart.
	ErrClosed = errors.New("the server is shutting down and opens no streams")
)

// errNewEpoch: the database is in another epoch than the one that was read before. The read must be repeated.
var errNewEpoch = errors.New("the database is in another epoch")

// MaxStreams is how many streams a user can have on one server.
const MaxStreams = 16

// A Router knows the connected users of this server, their channels, and the most recent events. The tailer
// publishes to it; sessions attach to it. While it holds its lock it waits neither for a client nor for the
// database.
//
// Lock order: take the router's lock before a session's. Hold neither during I/O.
type Router struct {
	Logger *slog.Logger // must be set before the first stream opens; nil: the router logs nothing

	log  Log
	slot chan struct{}   // bounds how many sessions read the event log at once
	solo chan struct{}   // bounds how many users are loaded alone at once
	ctx  context.Context // ends when the router closes
	stop context.CancelFunc

	counters Counters
	ended    sync.WaitGroup // one for each of all, one for each Hold, and one for each running loader

	mu sync.Mutex
	// mu guards these.
	at      events.Cursor // everything up to here is routed
	ring    ring
	users   map[string]*user
	routes  map[uuid.UUID]*route
	all     map[*Session]struct{}
	loads   []*load // users that wait to be loaded
	loading bool    // the loader runs
	failing int     // the number of loads that wait for a retry
	told    time.Time
	sharing int // the number of shared snapshots
	signals signals
	closed  bool
}

// Bounds of how many sessions read the event log at once. concurrentReads is for all of them: so a rush of
// streams leaves connections of the pool to users who post. readsOfOneUser leaves places to other users, and
// processors: a read keeps one of them busy, here or in Postgres.
const (
	concurrentReads = 6
	readsOfOneUser  = 1
)

// NewRouter returns a router at a position of the event log. The first event that is published to it must be
// the next one after that position.
func NewRouter(log Log, at events.Cursor) *Router {
	ctx, stop := context.WithCancel(context.Background())
	return &Router{
		log: log, ctx: ctx, stop: stop, slot: make(chan struct{}, concurrentReads),
		solo: make(chan struct{}, soloLoads),
		at:   at, ring: ring{floor: at.Seq},
		signals: signals{topics: map[events.Topic]*topic{}},
		users:   map[string]*user{}, routes: map[uuid.UUID]*route{}, all: map[*Session]struct{}{},
	}
}

// Position returns the position up to which the event log is routed.
func (r *Router) Position() events.Cursor {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at
}

// Streams returns the number of sessions that are open.
func (r *Router) Streams() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.all)
}

// Counters returns the counters of the router and its streams. They may be read at any time.
func (r *Router) Counters() *Counters { return &r.counters }

// publish routes the next event. It reports whether the event concerns a stream of this server.
func (r *Router) publish(e *events.Event) (reached bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var n deliveries
	defer r.counters.add(SourceLive, &n)
	r.ring.push(e)
	r.at = e.Cursor
	for _, id := range e.Joiners() {
		if u := r.concernedLocked(id, e); u != nil {
			r.joinLocked(u, events.Interval{ChannelID: e.ChannelID, Joined: e.Cursor.Seq})
		}
	}
	if rt := r.routes[e.ChannelID]; rt != nil {
		changed := changes(e.Kind)
		for _, u := range rt.users {
			if changed { // a user who joins has a route already, and one who leaves still has it
				u.changed = e.Cursor.Seq
			}
			u.offerLocked(e, &n)
		}
	}
	if u := r.users[e.Admin]; u != nil && e.Admin != "" {
		if _, member := u.intervals.Of(e); !member {
			u.offerLocked(e, &n)
		}
	}
	if e.Message != nil && (e.Kind == events.MessageUpdated || e.Kind == events.MessageDeleted) {
		r.ring.replace(e.Message, e.Gone)
	}
	if len(r.signals.topics) > 0 {
		r.signals.endLocked(e)
	}
	if e.Kind == events.MemberLeft {
		if u := r.concernedLocked(e.UserID, e); u != nil {
			r.leaveLocked(u, e)
		}
	}
	return n != deliveries{}
}

// enter notes the epoch in which the event log was read. Events up to base survived from the router's epoch;
// the new epoch began at head. Sessions beyond base end. If the router itself was beyond base, enter ends all
// sessions, forgets what was read, restarts where the epoch began, and returns false.
func (r *Router) enter(epoch, base, head int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if epoch == r.at.Epoch {
		return true
	}
	lost := r.at.Seq > base
	r.at.Epoch = epoch
	for s := range r.all {
		if lost || s.from > base { // another server may have served the client beyond this router's position
			s.Close(events.ClosedReset, true)
		}
	}
	if !lost {
		return true // Postgres restarted: numbers continue, and ids have the new epoch from here on
	}
	r.restartLocked(max(base, head))
	return false
}

// expire notes the floor of the event log. If the router is below the floor, all sessions lack events: expire
// ends them, restarts the router at the floor, and returns true.
func (r *Router) expire(floor int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.at.Seq >= floor {
		return false
	}
	for s := range r.all {
		s.Close(events.ClosedExpired, true)
	}
	r.restartLocked(floor)
	return true
}

// restartLocked forgets all that was read. r.mu is held.
func (r *Router) restartLocked(at int64) {
	r.at.Seq = at
	r.ring.reset(at)
	r.signals.forgetLocked()
	clear(r.users)
	clear(r.routes)
}

// Close ends every stream with stream.closing and waits for them. When ctx ends, it aborts streams that still
// write. No stream can be opened any more.
func (r *Router) Close(ctx context.Context) {
	r.mu.Lock()
	r.closed = true
	r.signals.forgetLocked()
	for s := range r.all {
		s.Close(events.ClosedDrain, true)
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
