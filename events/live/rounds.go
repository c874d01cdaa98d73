package live

import (
	"slices"
	"time"

	"fabric-guild/events"

	"github.com/google/uuid"
)

// armLocked starts the timer of the next round, if it does not run. r.mu is held.
func (r *Router) armLocked() {
	x := &r.signals
	if x.armed {
		return
	}
	x.armed = true
	wait := max(0, time.Until(x.last.Add(SignalPace)))
	if x.timer == nil {
		x.timer = time.AfterFunc(wait, r.round)
	} else {
		x.timer.Reset(wait)
	}
}

// round sends the signals that are due, channel by channel. It gives the router's lock back in between, so
// that messages need not wait for all of them.
func (r *Router) round() {
	now := time.Now()
	r.mu.Lock()
	r.signals.armed = false
	r.signals.last = now
	due := r.dueLocked(now)
	r.mu.Unlock()
	room := roundBytes
	for channel, topics := range due {
		r.mu.Lock()
		room -= r.showLocked(channel, topics, now, room)
		r.mu.Unlock()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.signals.topics) > 0 && !r.closed {
		r.armLocked()
	}
}

// dueLocked returns the topics whose signal can be sent now, by channel. It forgets topics that have nothing
// to send and need not pause. r.mu is held.
func (r *Router) dueLocked(now time.Time) map[uuid.UUID][]*topic {
	x := &r.signals
	due := map[uuid.UUID][]*topic{}
	for key, p := range x.topics {
		if s := p.latest; s != nil && (!now.Before(s.Until) || s.At.Epoch != r.at.Epoch) {
			x.dropLocked(p)
		}
		switch {
		case now.Before(p.next):
		case p.latest == nil:
			delete(x.topics, key)
		case p.latest.At.Seq <= r.at.Seq: // otherwise this server has yet to read who has left
			due[key.ChannelID] = append(due[key.ChannelID], p)
		}
	}
	return due
}

// showLocked queues the signals of topics of one channel for the streams that may hear them, and returns how
// many bytes these are. It leaves topics beyond room bytes for the next round. r.mu is held.
func (r *Router) showLocked(channel uuid.UUID, topics []*topic, now time.Time, room int) (size int) {
	var shown []*events.Signal
	var frames []*events.Frame
	members := r.routes[channel]
	listeners := 0
	if members != nil {
		for _, u := range members.users {
			for _, s := range u.live {
				if s.opts.Activity {
					listeners++
				}
			}
		}
	}
	pause := max(SignalPace, time.Second*time.Duration(listeners)/topicFrames)
	for _, p := range topics {
		s := p.latest
		switch {
		case s == nil: // it was ended meanwhile
			continue
		case size >= room:
			continue
		case s.Event == events.ChannelRead:
			size += r.tellOwnLocked(s)
			p.next = now.Add(SignalPace)
		default:
			f := s.Frame()
			shown = append(shown, s)
			frames = append(frames, f)
			size += len(f.SSE()) * listeners
			p.next = now.Add(pause)
		}
		r.signals.dropLocked(p)
	}
	if len(shown) == 0 || listeners == 0 {
		return size
	}
	heard := make([]*events.Frame, 0, len(frames))
	for _, u := range members.users {
		var in events.Interval
		for _, s := range u.live {
			if !s.opts.Activity {
				continue
			}
			if in.Joined == 0 {
				in, _ = u.intervals.Current(channel)
			}
			heard = heard[:0]
			for i, x := range shown {
				if x.Hears(u.id, in.Joined, &s.opts.Filter) {
					heard = append(heard, frames[i])
				}
			}
			s.signalLocked(heard)
		}
	}
	return size
}

// tellOwnLocked queues a signal for the streams of the user that it is about. r.mu is held.
func (r *Router) tellOwnLocked(s *events.Signal) (size int) {
	u := r.users[s.UserID]
	if u == nil {
		return 0
	}
	f := s.Frame()
	for _, own := range u.live {
		if own.opts.Reads && s.Hears(u.id, 0, &own.opts.Filter) {
			own.signalLocked([]*events.Frame{f})
			size += len(f.SSE())
		}
	}
	return size
}

// signalLocked queues the frames of signals. A frame replaces one of the same topic that still waits. A
// session that is not live, or is behind, takes none: messages come first. The router's mu is held.
func (s *Session) signalLocked(frames []*events.Frame) {
	if len(frames) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := 0
	for _, f := range frames {
		if s.phase != live || s.bye != nil || len(s.queue)-s.signals >= behindFrames {
			break
		}
		s.replaceLocked(f)
		if s.signals >= queueSignals || s.signalBytes+len(f.SSE()) > queueSignalBytes && s.signals > 0 {
			break
		}
		s.queue = append(s.queue, f)
		s.signals++
		s.signalBytes += len(f.SSE())
		taken++
	}
	n := &s.router.counters
	n.Signals.Add(int64(taken))
	n.SignalsDropped.Add(int64(len(frames) - taken))
	if len(s.queue) > 0 {
		s.kickLocked()
	}
}

// replaceLocked takes the frame that f replaces out of the queue. s.mu is held.
func (s *Session) replaceLocked(f *events.Frame) {
	if s.signals == 0 {
		return
	}
	i := slices.IndexFunc(s.queue,
		func(o *events.Frame) bool { return o.Topic != nil && *o.Topic == *f.Topic })
	if i >= 0 {
		s.signals--
		s.signalBytes -= len(s.queue[i].SSE())
		s.queue = slices.Delete(s.queue, i, i+1)
	}
}
