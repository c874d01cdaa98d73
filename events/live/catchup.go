package live

import (
	"context"
	"errors"
	"time"

	"fabric-guild/events"
)

const (
	replayTimeout = 10 * time.Second
	replayRetry   = 500 * time.Millisecond
)

// catchUp brings the stream from its position to the router's, and attaches it. It writes pages of the event
// log and parts of the ring directly to the client, so that no queue grows. It blocks until the stream is
// live or must end.
func (s *Session) catchUp() {
	s.router.counters.CatchingUp.Add(1)
	defer s.router.counters.CatchingUp.Add(-1)
	s.counted = !s.opened && s.opts.Resume == nil // such a stream has missed nothing
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s.mu.Lock()
	if s.bye != nil || s.phase != catchingUp {
		s.mu.Unlock()
		return
	}
	s.stop = cancel
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.stop = nil
		s.mu.Unlock()
	}()
	if !s.opened && !s.open(ctx) {
		return
	}
	for ctx.Err() == nil {
		frames, upTo, how := s.router.attach(s)
		switch how {
		case attached:
			s.count(SourceRing)
			return
		case fromRing:
			s.count(SourceRing)
			if !s.send(frames) {
				return
			}
			s.at = max(s.at, upTo)
		case fromLog:
			s.count(SourceLog)
			page, err := s.page(ctx, upTo)
			if errors.Is(err, events.ErrExpired) { // retention was faster than this stream
				s.Close(events.ClosedExpired, true)
				return
			}
			if err != nil || !s.sendPage(page) {
				return
			}
		}
	}
}

// open writes the stream's first frames. It returns false if the stream must end.
func (s *Session) open(ctx context.Context) bool {
	var first events.Page
	if s.opts.Resume != nil {
		s.at = s.opts.Resume.Seq
		// A position that the ring does not cover may have expired. The read of the first page says so.
		if upTo, covered := s.router.covers(s.at); !covered {
			var err error
			first, err = s.page(ctx, upTo)
			switch {
			case errors.Is(err, events.ErrExpired):
				s.opts.Resume = nil
				s.reset = events.ResetExpired
				s.counted = true
			case err != nil:
				return false
			default:
				s.count(SourceLog)
			}
		}
	}
	if s.reset != "" && s.opts.Await != nil {
		for s.opts.Await(ctx) != nil {
			if !sleep(ctx, replayRetry, nil) {
				return false
			}
		}
	}
	snap, asOf, ok := s.enter(ctx)
	if !ok {
		return false
	}
	defer s.router.leaveSnapshot(s.user, snap)
	ready := events.Ready{UserID: s.opts.User, Reason: s.reset}
	if s.opts.Resume != nil {
		ready.Cursor = *s.opts.Resume
		ready.Resumed = true
	} else {
		ready.Cursor = asOf
		s.at = asOf.Seq
		if s.reset != "" {
			s.router.counters.Resets.add(s.reset, 1)
		}
	}
	if !s.sendReady(ctx, ready, snap) {
		return false
	}
	s.opened = true
	s.resumed = ready.Resumed
	return s.sendPage(first)
}

// count counts a catch-up once, by the source where it began.
func (s *Session) count(from Source) {
	if !s.counted {
		s.counted = true
		s.router.counters.CatchUps.add(from.String(), 1)
	}
}

// page reads the next part of the event log up to upTo. It retries until the read succeeds, the part has
// expired, or the stream must end.
func (s *Session) page(ctx context.Context, upTo int64) (page events.Page, err error) {
	err = s.try(ctx, func(ctx context.Context) (err error) {
		page, err = s.router.log.Replay(ctx, s.opts.User, s.at, upTo)
		if err == nil && page.Epoch != s.router.Position().Epoch {
			// The database is in a new epoch, which may lack events that this stream has shown, and the
			// tailer has not noticed yet. Then the stream ends with a reset. It must not show the events that
			// took their place.
			return errNewEpoch
		}
		return err
	})
	if ctx.Err() != nil { // the epoch may have changed after the read, and ended the stream
		return events.Page{}, ctx.Err()
	}
	return page, err
}

// try reads the event log, with a bounded number of readers and a bounded time per read. It retries until the
// read succeeds or the position has expired. It returns the error of ctx if the stream must end.
func (s *Session) try(ctx context.Context, read func(context.Context) error) error {
	for {
		err := s.read(ctx, read)
		if err == nil || errors.Is(err, events.ErrExpired) {
			return err
		}
		if !sleep(ctx, replayRetry, nil) {
			return ctx.Err()
		}
	}
}

// read waits for a place among the reads of the same user, and then reads as Router.read does. So many
// streams of one user do not take the places of other users.
func (s *Session) read(ctx context.Context, read func(context.Context) error) error {
	slot := s.router.slotOf(s)
	select {
	case slot <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-slot }()
	return s.router.read(ctx, read)
}

// slotOf returns the user's slot. It makes the slot at the first call, because most users never read the
// event log.
func (r *Router) slotOf(s *Session) chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	u := s.user
	if u.slot == nil {
		u.slot = make(chan struct{}, readsOfOneUser)
	}
	return u.slot
}

// read calls read with a timeout, once one of concurrentReads places is free, and one of those who read the
// database. The timeout includes the waits.
func (r *Router) read(ctx context.Context, read func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, replayTimeout)
	defer cancel()
	select {
	case r.slot <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-r.slot }()
	done, err := r.log.Reading(ctx)
	if err != nil {
		return err
	}
	defer done()
	return read(ctx)
}

// sendPage sends the frames of a page, and moves the stream's position to the page's end. It returns false if
// the stream is over.
func (s *Session) sendPage(page events.Page) bool {
	frames := make([]*events.Frame, 0, len(page.Events))
	var n deliveries
	for _, e := range page.Events {
		f := e.FrameFor(s.opts.User, e.In, &s.opts.Filter)
		n[f.Outcome()]++
		if f != nil {
			frames = append(frames, f)
		}
	}
	s.router.counters.add(SourceLog, &n)
	// a client that is cut off now need not read the page again
	if page.Reached-s.shownAfter(frames) >= s.lag() {
		frames = append(frames, events.CursorFrame(events.Cursor{Epoch: page.Epoch, Seq: page.Reached}))
	}
	if !s.send(frames) {
		return false
	}
	s.at = max(s.at, page.Reached)
	return true
}

// shownAfter returns the last number that the stream will have sent as an id after frames.
func (s *Session) shownAfter(frames []*events.Frame) int64 {
	if n := len(frames); n > 0 {
		return frames[n-1].Seq
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shown
}

// lag returns how far a page may leave the last id behind.
func (s *Session) lag() int64 {
	if s.opts.Marks {
		return 1
	}
	return cursorLag
}
