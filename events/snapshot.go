package events

import (
	"context"
	"errors"
	"slices"
)

// snapshotFrame is how many channels a frame of the snapshot holds.
const snapshotFrame = 200

// enter makes sure that the router knows the user's intervals, and takes the snapshot where one is due: of a
// resumed stream as of the cursor that it asked for, else as of the router's position. Without one channels
// is nil. ok is false when the stream is to end.
func (s *Session) enter(ctx context.Context) (channels []Channel, asOf Cursor, ok bool) {
	err := s.try(ctx, func(ctx context.Context) (err error) {
		channels, asOf, err = s.tryEnter(ctx)
		return err
	})
	return channels, asOf, err == nil
}

var errAhead = errors.New("this node has not read the log up to the cursor")

func (s *Session) tryEnter(ctx context.Context) ([]Channel, Cursor, error) {
	memberships, asOf, loaded, err := s.router.load(ctx, s.user)
	if err != nil || s.opts.Resume != nil && !s.opts.Snapshot {
		return nil, asOf, err
	}
	if s.opts.Resume != nil {
		if asOf.Seq < s.from {
			return nil, asOf, errAhead
		}
		asOf = *s.opts.Resume
	}
	if !loaded || s.opts.Resume != nil {
		memberships, err = s.router.log.Snapshot(ctx, s.opts.User, asOf.Seq, asOf.Seq)
	}
	return s.opts.Filter.OpenChannels(memberships, asOf.Seq), asOf, err
}

// OpenChannels are the channels of a snapshot: neither left nor archived as of its position.
func (f *Filter) OpenChannels(memberships []Membership, asOf int64) []Channel {
	out := []Channel{}
	for _, m := range memberships {
		if (m.Left == 0 || m.Left > asOf) && m.Channel.ArchivedAt == nil && f.inGuild(m.Channel.GuildID) {
			out = append(out, m.Channel)
		}
	}
	return out
}

// load sees to it that the router knows u's intervals. The first session of a user loads them, as of the
// router's position; the user's own membership events wait meanwhile and are applied after it. It gets what
// it read, for its snapshot. The other sessions wait for it, and try themselves if it did not succeed.
func (r *Router) load(ctx context.Context, u *user) (read []Membership, asOf Cursor, loaded bool, err error) {
	for {
		r.mu.Lock()
		asOf, floor, state, done := r.at, r.ring.floor, u.state, u.loaded
		if state == unknown {
			u.state, u.loaded = loading, make(chan struct{})
		}
		r.mu.Unlock()

		switch state {
		case ready:
			return nil, asOf, false, nil
		case loading:
			select {
			case <-done:
			case <-ctx.Done():
				return nil, asOf, false, ctx.Err()
			}
		case unknown:
			read, err = r.log.Snapshot(ctx, u.id, asOf.Seq, floor)
			r.finishLoading(u, read, asOf.Seq, err)
			return read, asOf, true, err
		}
	}
}

func (r *Router) finishLoading(u *user, read []Membership, asOf int64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer close(u.loaded)
	missed := u.missed
	u.missed = nil
	if err != nil || r.users[u.id] != u { // or the router has started anew since
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

// readyFrame is the data of stream.ready and stream.reset.
type readyFrame struct {
	Cursor   Cursor     `json:"cursor"`
	UserID   string     `json:"userId"`
	Reason   string     `json:"reason,omitempty"`
	Resumed  bool       `json:"resumed"`
	Channels *[]Channel `json:"channels,omitempty"`
}

// frames are the frame itself and, where the snapshot is long, those that carry the rest of it. Only the
// last has the id: a client that was cut off between them starts over.
func (f readyFrame) frames(name string, channels []Channel) []*Frame {
	if channels == nil {
		return []*Frame{newFrame(name, f, f.Cursor)}
	}
	var out []*Frame
	id := func(rest []Channel) Cursor {
		if len(rest) == 0 {
			return f.Cursor
		}
		return Cursor{}
	}
	part, rest := cut(channels)
	f.Channels = &part
	out = append(out, newFrame(name, f, id(rest)))
	for len(rest) > 0 {
		part, rest = cut(rest)
		out = append(out, newFrame("stream.channels", struct {
			Channels []Channel `json:"channels"`
		}{part}, id(rest)))
	}
	return out
}

func cut(channels []Channel) (part, rest []Channel) {
	n := min(snapshotFrame, len(channels))
	return channels[:n], channels[n:]
}
