package events

import (
	"context"
	"errors"
)

// snapshotFrame is how many channels a frame of the snapshot holds.
const snapshotFrame = 200

// enter makes sure that the router knows the user's intervals, and takes the snapshot where one is due: of a
// resumed stream as of the cursor that it asked for, else as of the router's position. Without one channels
// is nil. ok is false when the stream is to end.
func (s *Session) enter(ctx context.Context) (channels []Channel, asOf Cursor, ok bool) {
	for {
		channels, asOf, err := s.tryEnter(ctx)
		if err == nil {
			return channels, asOf, true
		}
		if !sleep(ctx, replayRetry, nil) {
			return nil, asOf, false
		}
	}
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
		err = s.read(ctx, func(ctx context.Context) error {
			of, err := s.router.log.Snapshot(ctx, []string{s.opts.User}, asOf.Seq, asOf.Seq)
			memberships = of[s.opts.User]
			return err
		})
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
		out = append(out, newFrame(streamChannels, struct {
			Channels []Channel `json:"channels"`
		}{part}, id(rest)))
	}
	return out
}

func cut(channels []Channel) (part, rest []Channel) {
	n := min(snapshotFrame, len(channels))
	return channels[:n], channels[n:]
}
