package events

import (
	"context"
	"errors"
	"time"
)

const (
	replayTimeout = 10 * time.Second
	replayRetry   = 500 * time.Millisecond
)

// catchUp brings the stream from its position to the router's, and attaches it. It writes straight from the
// log's pages and the ring, so that no queue grows, and returns when the stream is live or is to end.
func (s *Session) catchUp() {
	s.router.counters.CatchingUp.Add(1)
	defer s.router.counters.CatchingUp.Add(-1)
	s.counted = !s.opened && s.opts.Resume == nil // it has missed nothing
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
			if errors.Is(err, ErrExpired) { // it was slower than retention
				s.Close(ResetExpired, true)
				return
			}
			if err != nil || !s.sendPage(page) {
				return
			}
		}
	}
}

// open writes the stream's first frames. It answers false when the stream is to end.
func (s *Session) open(ctx context.Context) bool {
	var first Page
	if s.opts.Resume != nil {
		s.at = s.opts.Resume.Seq
		// A position that the ring does not cover may have expired: the first page tells.
		if upTo, covered := s.router.covers(s.at); !covered {
			var err error
			if first, err = s.page(ctx, upTo); errors.Is(err, ErrExpired) {
				s.opts.Resume, s.opts.Reset = nil, ResetExpired
				s.counted = true
			} else if err != nil {
				return false
			} else {
				s.count(SourceLog)
			}
		}
	}
	snap, asOf, ok := s.enter(ctx)
	if !ok {
		return false
	}
	ready := readyFrame{UserID: s.opts.User, Reason: s.opts.Reset}
	name := streamReady
	if s.opts.Resume != nil {
		ready.Cursor, ready.Resumed = *s.opts.Resume, true
	} else {
		ready.Cursor, s.at = asOf, asOf.Seq
		if s.opts.Reset != "" {
			name = streamReset
			s.router.counters.Resets.add(s.opts.Reset, 1)
		}
	}
	if !s.sendReady(ctx, name, ready, snap) {
		return false
	}
	s.opened, s.resumed = true, ready.Resumed
	return s.sendPage(first)
}

// count counts a catch-up, once.
func (s *Session) count(from Source) {
	if !s.counted {
		s.counted = true
		s.router.counters.CatchUps.add(from.String(), 1)
	}
}

// page reads the next part of the log up to upTo, trying until it succeeds, the part has expired, or the
// stream is to end.
func (s *Session) page(ctx context.Context, upTo int64) (page Page, err error) {
	err = s.try(ctx, func(ctx context.Context) (err error) {
		page, err = s.router.log.Replay(ctx, s.opts.User, s.at, upTo)
		if err == nil && page.Epoch != s.router.Position().Epoch {
			// The tailer has not noticed yet that the database is in a new life, which may lack what this
			// stream has shown: then the stream ends with a reset, and must not show what took its place.
			return ErrNewEpoch
		}
		return err
	})
	if ctx.Err() != nil { // the epoch may have changed behind the page's back, and ended the stream
		return Page{}, ctx.Err()
	}
	return page, err
}

// try reads the log, within a bounded number of readers and a bounded time, again and again until it
// succeeds or the position has expired. It returns the error of ctx when the stream is to end.
func (s *Session) try(ctx context.Context, read func(context.Context) error) error {
	for {
		err := s.read(ctx, read)
		if err == nil || errors.Is(err, ErrExpired) {
			return err
		}
		if !sleep(ctx, replayRetry, nil) {
			return ctx.Err()
		}
	}
}

// read is the router's, first among the user's own streams: nobody else waits for those.
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

// slotOf is the user's slot, made when it is first needed: most never read the log.
func (r *Router) slotOf(s *Session) chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	u := s.user
	if u.slot == nil {
		u.slot = make(chan struct{}, readsOfOneUser)
	}
	return u.slot
}

func (r *Router) read(ctx context.Context, read func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, replayTimeout)
	defer cancel()
	select {
	case r.slot <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-r.slot }()
	return read(ctx)
}

func (s *Session) sendPage(page Page) bool {
	frames := make([]*Frame, 0, len(page.Events))
	var n deliveries
	for _, e := range page.Events {
		f := e.frameFor(s.opts.User, e.In, &s.opts.Filter)
		if n[f.outcome()]++; f != nil {
			frames = append(frames, f)
		}
	}
	s.router.counters.add(SourceLog, &n)
	if page.Reached-s.shownAfter(frames) >= s.lag() { // whoever is cut off now need not walk it again
		frames = append(frames, cursorFrame(Cursor{page.Epoch, page.Reached}))
	}
	if !s.send(frames) {
		return false
	}
	s.at = max(s.at, page.Reached)
	return true
}

// shownAfter is the last number that will have been sent as an id, once frames are.
func (s *Session) shownAfter(frames []*Frame) int64 {
	if n := len(frames); n > 0 {
		return frames[n-1].seq
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shown
}

// lag is how far a page may leave the last id behind.
func (s *Session) lag() int64 {
	if s.opts.Marks {
		return 1
	}
	return cursorLag
}
