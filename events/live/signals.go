package live

import (
	"slices"
	"time"

	"fabric-guild/events"

	"github.com/google/uuid"
)

// Bounds of signals. Messages come first: signals are sent in rounds, so that a stream gets at most one write
// per round for all of them, and a stream whose client is behind gets none.
const (
	// SignalPace is the time between two rounds, and so the least time between two signals of a topic. For as
	// long, a topic remembers when its latest signal was sent.
	SignalPace = 250 * time.Millisecond
	// topicFrames is how many frames of one topic all streams of this server get per second at most. With
	// more than a hundred listeners a topic pauses for longer than SignalPace.
	topicFrames = 400
	// roundBytes is how many bytes a round queues at most. The rest waits for the next round, where newer
	// signals may have replaced it.
	roundBytes = 2 << 20

	maxTopics = 16384
	maxHeld   = 16 << 20 // bytes of all signals that wait
	signalLag = 1000     // a signal that is older by this number of events is dropped
	// queueSignals and queueSignalBytes bound the signals in a session's queue. A session with behindFrames
	// other frames in its queue is behind: it takes no signals.
	queueSignals     = 32
	queueSignalBytes = 64 << 10
	behindFrames     = 64
)

// signals are those that wait for the next round. The router's mu guards all fields. There is no goroutine:
// a timer runs while something waits.
type signals struct {
	asked  int // sessions with Options.Activity
	topics map[events.Topic]*topic
	held   int // bytes of the signals that wait
	armed  bool
	timer  *time.Timer
	last   time.Time // when the last round began
}

// A topic remembers its latest signal until it is sent, and then until the next one may be sent.
type topic struct {
	latest *events.Signal // nil: nothing waits
	sent   int64          // Signal.Sent of the latest one
	next   time.Time      // when the topic may send again
}

// Tell shows a signal to the streams of this server that may hear it, in the next round. It never blocks. It
// drops the signal if nobody asked for it, if a newer one is here, or if the event log has passed it.
func (r *Router) Tell(s *events.Signal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || !r.askedLocked(s) || r.passedLocked(s) {
		return
	}
	x := &r.signals
	key := s.Topic()
	p := x.topics[key]
	switch {
	case len(s.Data) > maxHeld-x.held, p == nil && len(x.topics) >= maxTopics:
		r.counters.SignalsDropped.Add(1)
		return
	case p == nil:
		p = &topic{}
		x.topics[key] = p
	case s.Sent < p.sent:
		return
	}
	x.dropLocked(p)
	p.latest = s
	p.sent = s.Sent
	x.held += len(s.Data)
	r.armLocked()
}

// askedLocked reports whether a stream of this server may hear s. r.mu is held.
func (r *Router) askedLocked(s *events.Signal) bool {
	if s.Event == events.ChannelRead {
		return r.users[s.UserID] != nil
	}
	return r.signals.asked > 0 && r.routes[s.ChannelID] != nil
}

// passedLocked reports whether the event log has ended s: its user has posted or left since, or s is old, or
// is from another epoch. r.mu is held.
func (r *Router) passedLocked(s *events.Signal) bool {
	if s.At.Epoch != r.at.Epoch {
		return true
	}
	if s.At.Seq >= r.at.Seq {
		return false
	}
	since, covered := r.ring.after(s.At.Seq, signalLag)
	return !covered || len(since) == signalLag ||
		slices.ContainsFunc(since, func(e *events.Event) bool { return ends(e, s) })
}

// ends reports whether e, which came after s, ends s.
func ends(e *events.Event, s *events.Signal) bool {
	if e.ChannelID != s.ChannelID || e.UserID != s.UserID {
		return false
	}
	return e.Kind == events.MemberLeft || e.Kind == events.MessageCreated && s.Event == events.Activity
}

// endLocked drops the signals that e ends. The router's mu is held.
func (x *signals) endLocked(e *events.Event) {
	drop := func(p *topic) {
		if p.latest != nil && p.latest.At.Seq < e.Cursor.Seq && ends(e, p.latest) {
			x.dropLocked(p)
		}
	}
	switch e.Kind {
	case events.MessageCreated: // ends activity only
		for part := range events.MaxParts {
			p := x.topics[events.Topic{
				Event: events.Activity, ChannelID: e.ChannelID, UserID: e.UserID,
				Part: part,
			}]
			if p == nil {
				break
			}
			drop(p)
		}
	case events.MemberLeft: // is rare
		for _, p := range x.topics {
			drop(p)
		}
	}
}

// dropLocked drops the signal of p that waits. The router's mu is held.
func (x *signals) dropLocked(p *topic) {
	if p.latest != nil {
		x.held -= len(p.latest.Data)
		p.latest = nil
	}
}

// forgetLocked drops everything. The router's mu is held.
func (x *signals) forgetLocked() {
	clear(x.topics)
	x.held = 0
}

// Member reports whether user is a member of a channel, as of this server's position. known is false if this
// server does not follow the user's memberships now.
func (r *Router) Member(user string, channel uuid.UUID) (member, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	u := r.users[user]
	if u == nil || u.state != ready {
		return false, false
	}
	_, member = u.intervals.Current(channel)
	return member, true
}

// Watched reports whether a stream of this server asks for the signals of other members.
func (r *Router) Watched() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.signals.asked > 0
}
