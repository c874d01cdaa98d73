package live

import (
	"context"

	"github.com/google/uuid"

	"fabric-guild/events"
)

// snapshotFrame is how many channels a frame of the snapshot has at most, and how many memberships one read
// for it returns.
const snapshotFrame = 200

// A snapshot is read and sent page by page, so that a stream whose client does not read holds only one page.
type snapshot struct {
	session *Session
	asOf    events.Cursor
	whole   []events.Membership // all memberships, if the load of the user returned them
	isWhole bool
}

// enter blocks until the router knows the user's intervals, and returns the snapshot that the stream must
// show. The snapshot of a resumed stream is as of its cursor, any other as of the router's position. It is
// nil if the stream shows none. ok is false if the stream must end.
func (s *Session) enter(ctx context.Context) (snap *snapshot, asOf events.Cursor, ok bool) {
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
		// This server has not read the event log up to the cursor yet.
		if !sleep(ctx, replayRetry, nil) {
			return nil, asOf, false
		}
	}
}

// each calls show with the channels of the snapshot, at most snapshotFrame at a time, and at least once. last
// is true at the last call. each retries a page that cannot be read. It returns false if show does, or if the
// stream must end.
func (p *snapshot) each(ctx context.Context, show func(channels []events.Channel, last bool) bool) bool {
	seen := map[uuid.UUID]bool{} // a membership that ends between two pages is in both
	pending := []events.Channel{}
	from := events.Place{Left: p.asOf.Seq}
	for last := false; !last; {
		page := p.whole
		last = p.isWhole
		if !p.isWhole {
			if !p.read(ctx, from, &page) {
				return false
			}
			last = len(page) < snapshotFrame
			if !last {
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
			pending = append([]events.Channel{}, pending[snapshotFrame:]...)
		}
	}
	return show(pending, true)
}

// read reads a page. It retries until that succeeds. It returns false if the stream must end.
func (p *snapshot) read(ctx context.Context, from events.Place, page *[]events.Membership) bool {
	s := p.session
	return s.try(ctx, func(ctx context.Context) error {
		of, err := s.router.log.Memberships(ctx, []string{s.opts.User}, p.asOf.Seq, from, snapshotFrame)
		*page = of[s.opts.User]
		return err
	}) == nil
}

// sendReady sends a stream.ready or stream.reset and, if the snapshot is long, the frames with the rest of
// it. Only the last frame has the id: a client that is cut off between them starts over. It returns false if
// the stream must end.
func (s *Session) sendReady(ctx context.Context, ready events.Ready, snap *snapshot) bool {
	if snap == nil {
		return s.send([]*events.Frame{ready.Frame(ready.Cursor)})
	}
	first := true
	return snap.each(ctx, func(channels []events.Channel, last bool) bool {
		var id events.Cursor
		if last {
			id = ready.Cursor
		}
		if first {
			first = false
			ready.Channels = &channels
			return s.send([]*events.Frame{ready.Frame(id)})
		}
		return s.send([]*events.Frame{events.ChannelsFrame(channels, id)})
	})
}
