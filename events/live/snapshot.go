package live

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"

	"fabric-guild/events"
)

// A frame of a snapshot has at most snapshotFrame channels. One read for it returns at most snapshotRows
// memberships, because each read has a cost of its own.
const (
	snapshotFrame = 200
	snapshotRows  = 3 * snapshotFrame
)

// A snapshot is the list of a user's channels as of a position. It is read part by part, when a stream needs
// the part. If it is shared, it keeps its parts for other streams of the user. Otherwise it keeps none, so
// that a stream whose client does not read holds little.
type snapshot struct {
	log    Log
	user   string
	filter events.Filter // only its guilds count
	asOf   events.Cursor
	shared bool
	epoch  int64 // the router's, when the snapshot began to be shared

	readers int         // the number of streams that show it; the router's mu guards it
	idle    *time.Timer // drops it; set while no stream shows it; the router's mu guards it

	mu sync.Mutex
	// mu guards these.
	parts []part
	whole bool // all parts are there

	// The stream that holds the user's slot uses these.
	from    events.Place
	seen    map[uuid.UUID]bool // a membership that ends between two reads is in both
	pending []events.Channel   // in no part yet
}

// A part is what one frame shows of a snapshot. The first frame and the last one differ from stream to
// stream, so their parts have the channels. The parts between them have the frame.
type part struct {
	channels []events.Channel
	frame    *events.Frame
}

func (r *Router) newSnapshot(s *Session, asOf events.Cursor) *snapshot {
	return &snapshot{
		log: r.log, user: s.opts.User, filter: s.opts.Filter, asOf: asOf,
		from: events.Place{Left: asOf.Seq}, seen: map[uuid.UUID]bool{},
	}
}

// part returns a part. ok is false if it must be read first. last is true if no part follows.
func (p *snapshot) part(i int) (found part, last, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i >= len(p.parts) {
		return part{}, false, false
	}
	found = p.parts[i]
	if !p.shared {
		p.parts[i] = part{}
	}
	return found, p.whole && i == len(p.parts)-1, true
}

// read reads up to a part, unless another stream has. The caller must hold the user's slot. After an error,
// read may be called again.
func (p *snapshot) read(ctx context.Context, i int) error {
	for {
		p.mu.Lock()
		done := i < len(p.parts)
		p.mu.Unlock()
		if done {
			return nil
		}
		of, err := p.log.Memberships(ctx, []string{p.user}, p.asOf.Seq, p.from, snapshotRows)
		if err != nil {
			return err
		}
		page := of[p.user]
		last := len(page) < snapshotRows
		if !last {
			p.from = p.from.After(page)
		}
		p.add(page, last)
	}
}

// add makes parts of the memberships that were read. last is true if these are the last.
func (p *snapshot) add(page []events.Membership, last bool) {
	for _, c := range p.filter.OpenChannels(page, p.asOf.Seq) {
		if !p.seen[c.ID] {
			p.seen[c.ID] = true
			p.pending = append(p.pending, c)
		}
	}
	var made []part
	for len(p.pending) > snapshotFrame {
		made = append(made, part{channels: p.pending[:snapshotFrame:snapshotFrame]})
		p.pending = p.pending[snapshotFrame:]
	}
	if last {
		made = append(made, part{channels: p.pending})
		p.pending, p.seen = nil, nil
	}
	for i := range made {
		isLast := last && i == len(made)-1
		if first := i == 0 && len(p.parts) == 0; !first && !isLast {
			made[i] = part{frame: events.ChannelsFrame(made[i].channels, events.Cursor{})}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.parts = append(p.parts, made...)
	p.whole = last
}

// enter blocks until the router knows the user's intervals, and returns the snapshot that the stream must
// show. The snapshot of a resumed stream is as of its cursor, any other as of the router's position. snap is
// nil if the stream shows none. Otherwise the caller must call leaveSnapshot. ok is false if the stream must
// end.
func (s *Session) enter(ctx context.Context) (snap *snapshot, asOf events.Cursor, ok bool) {
	for {
		read, asOf, whole, err := s.router.load(ctx, s.user)
		switch {
		case err != nil:
			return nil, asOf, false
		case whole && s.opts.Resume == nil:
			snap = s.router.newSnapshot(s, asOf)
			snap.add(read, true)
			return snap, asOf, true
		case s.opts.Resume == nil:
			snap, asOf = s.router.enterSnapshot(s)
			return snap, asOf, true
		case !s.opts.Snapshot:
			return nil, asOf, true
		case asOf.Seq >= s.from:
			snap, asOf = s.router.enterSnapshot(s)
			return snap, asOf, true
		}
		// This server has not read the event log up to the cursor yet.
		if !sleep(ctx, replayRetry, nil) {
			return nil, asOf, false
		}
	}
}

// sendReady sends a stream.ready or stream.reset and, if the snapshot is long, the frames with the rest of
// it. Only the last frame has the id: a client that is cut off between them starts over. It returns false if
// the stream must end.
func (s *Session) sendReady(ctx context.Context, ready events.Ready, snap *snapshot) bool {
	if snap == nil {
		return s.send([]*events.Frame{ready.Frame(ready.Cursor)})
	}
	last := false
	for i := 0; !last; i++ {
		p, isLast, ok := snap.part(i)
		if !ok {
			if s.try(ctx, func(ctx context.Context) error { return s.readPart(ctx, snap, i) }) != nil {
				return false
			}
			p, isLast, _ = snap.part(i)
		}
		last = isLast
		if !s.send([]*events.Frame{p.show(ready, i == 0, last)}) {
			return false
		}
	}
	return true
}

// readPart is snapshot.read. It also tells whoever opened the stream how long that took, unless the database
// did not answer.
func (s *Session) readPart(ctx context.Context, snap *snapshot, i int) error {
	began := time.Now()
	err := snap.read(ctx, i)
	broken := errors.Is(ctx.Err(), context.Canceled) // by the client; what was read until then was work
	if s.opts.Worked != nil && (err == nil || broken) {
		s.opts.Worked(time.Since(began))
	}
	return err
}

// show returns the frame of a part.
func (p part) show(ready events.Ready, first, last bool) *events.Frame {
	var id events.Cursor
	if last {
		id = ready.Cursor
	}
	switch {
	case first:
		ready.Channels = &p.channels
		if p.channels == nil { // none, which is not the same as no snapshot
			ready.Channels = &[]events.Channel{}
		}
		return ready.Frame(id)
	case p.frame != nil:
		return p.frame
	}
	return events.ChannelsFrame(p.channels, id)
}
