package events

import (
	"bytes"
	"context"
	"slices"

	"github.com/google/uuid"
)

// snapshotFrame is how many channels a frame of the snapshot holds, and how many memberships a session reads at
// once for it.
const snapshotFrame = 200

// A snapshot is read and sent page by page, so that a stream whose client does not read holds one page only.
type snapshot struct {
	session *Session
	asOf    Cursor
	whole   []Membership // all memberships, if the load of the user returned them
	isWhole bool
}

// enter makes sure that the router knows the user's intervals, and returns the snapshot where one is due: of a
// resumed stream as of the cursor that it asked for, else as of the router's position. Without one it is nil. ok
// is false when the stream is to end.
func (s *Session) enter(ctx context.Context) (snap *snapshot, asOf Cursor, ok bool) {
	for {
		read, asOf, whole, err := s.router.load(ctx, s.user)
		switch {
		case err != nil:
			return nil, asOf, false
		case s.opts.Resume == nil:
			return &snapshot{s, asOf, read, whole}, asOf, true
		case !s.opts.Snapshot:
			return nil, asOf, true
		case asOf.Seq >= s.from:
			return &snapshot{session: s, asOf: *s.opts.Resume}, asOf, true
		}
		// This node has not read the log up to the cursor yet.
		if !sleep(ctx, replayRetry, nil) {
			return nil, asOf, false
		}
	}
}

// each calls show with the channels of the snapshot, at most snapshotFrame at a time and at least once; last says
// that these are the last ones. A page that can't be read is tried again. It answers false when show does, or
// when the stream is to end.
func (p *snapshot) each(ctx context.Context, show func(channels []Channel, last bool) bool) bool {
	seen := map[uuid.UUID]bool{} // a membership that ends between two pages is in both
	pending := []Channel{}
	from := Place{Left: p.asOf.Seq}
	for last := false; !last; {
		page := p.whole
		if last = p.isWhole; !last {
			if !p.read(ctx, from, &page) {
				return false
			}
			if last = len(page) < snapshotFrame; !last {
				from = from.After(page)
			}
		}
		for _, c := range p.session.opts.Filter.OpenChannels(page, p.asOf.Seq) {
			if !seen[c.ID] {
				seen[c.ID] = true
				pending = append(pending, c)
			}
		}
		for len(pending) > snapshotFrame {
			if !show(pending[:snapshotFrame], false) {
				return false
			}
			pending = append([]Channel{}, pending[snapshotFrame:]...)
		}
	}
	return show(pending, true)
}

// read reads a page, and tries until it succeeds. It answers false when the stream is to end.
func (p *snapshot) read(ctx context.Context, from Place, page *[]Membership) bool {
	s := p.session
	return s.try(ctx, func(ctx context.Context) error {
		of, err := s.router.log.Memberships(ctx, []string{s.opts.User}, p.asOf.Seq, from, snapshotFrame)
		*page = of[s.opts.User]
		return err
	}) == nil
}

// OpenChannels are the channels of a page of a snapshot, by id: neither left nor archived as of its position.
func (f *Filter) OpenChannels(memberships []Membership, asOf int64) []Channel {
	out := []Channel{}
	for _, m := range memberships {
		if (m.Left == 0 || m.Left > asOf) && m.Channel.ArchivedAt == nil && f.inGuild(m.Channel.GuildID) {
			out = append(out, m.Channel)
		}
	}
	slices.SortFunc(out, func(a, b Channel) int { return bytes.Compare(a.ID[:], b.ID[:]) })
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

// sendReady sends the frame of that name and, where the snapshot is long, the frames that carry the rest of it.
// Only the last one has the id: a client that was cut off between them starts over. It answers false when the
// stream is to end.
func (s *Session) sendReady(ctx context.Context, name string, ready readyFrame, snap *snapshot) bool {
	if snap == nil {
		return s.send([]*Frame{newFrame(name, ready, ready.Cursor)})
	}
	first := true
	return snap.each(ctx, func(channels []Channel, last bool) bool {
		var id Cursor
		if last {
			id = ready.Cursor
		}
		if first {
			first = false
			ready.Channels = &channels
			return s.send([]*Frame{newFrame(name, ready, id)})
		}
		return s.send([]*Frame{newFrame(streamChannels, struct {
			Channels []Channel `json:"channels"`
		}{channels}, id)})
	})
}
