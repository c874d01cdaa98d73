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
	for ctx.Err() == nil && s.sendBeat() {
		frames, upTo, how := s.router.attach(s)
		switch how {
		case attached:
			return
		case fromRing:
			if !s.send(frames) {
				return
			}
			s.at = max(s.at, upTo)
		case fromLog:
			page, err := s.page(ctx, upTo)
			if errors.Is(err, ErrExpired) { // it was slower than retention
				s.Close("expired", true)
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
				s.opts.Resume, s.opts.Reset = nil, "expired"
			} else if err != nil {
				return false
			}
		}
	}
	channels, asOf, ok := s.enter(ctx)
	if !ok {
		return false
	}
	ready := readyFrame{UserID: s.opts.User, Reason: s.opts.Reset}
	name := "stream.ready"
	if s.opts.Resume != nil {
		ready.Cursor, ready.Resumed = *s.opts.Resume, true
	} else {
		ready.Cursor, s.at = asOf, asOf.Seq
		if s.opts.Reset != "" {
			name = "stream.reset"
		}
	}
	if !s.send(ready.frames(name, channels)) {
		return false
	}
	s.opened, s.resumed = true, ready.Resumed
	return s.sendPage(first)
}

// page reads the next part of the log up to upTo, trying until it succeeds, the part has expired, or ctx ends.
func (s *Session) page(ctx context.Context, upTo int64) (Page, error) {
	for {
		page, err := s.router.readPage(ctx, s.opts.User, s.at, upTo)
		if err == nil || errors.Is(err, ErrExpired) {
			return page, err
		}
		if !s.pause(ctx, replayRetry) {
			return Page{}, context.Canceled
		}
	}
}

func (r *Router) readPage(ctx context.Context, user string, after, upTo int64) (Page, error) {
	select {
	case r.replay <- struct{}{}:
	case <-ctx.Done():
		return Page{}, ctx.Err()
	}
	defer func() { <-r.replay }()
	ctx, cancel := context.WithTimeout(ctx, replayTimeout)
	defer cancel()
	page, err := r.log.Replay(ctx, user, after, upTo)
	if err == nil && page.Epoch != r.Position().Epoch {
		// The tailer has not noticed yet that the database is in a new life, which may lack what this
		// stream has shown: then it ends with a reset, and must not show what took its place.
		return Page{}, errNewEpoch
	}
	return page, err
}

var errNewEpoch = errors.New("the database is in another epoch")

func (s *Session) sendPage(page Page) bool {
	frames := make([]*Frame, 0, len(page.Events))
	for _, e := range page.Events {
		if f := e.frameFor(s.opts.User, &s.opts.Filter); f != nil {
			frames = append(frames, f)
		}
	}
	if !s.send(frames) {
		return false
	}
	s.at = max(s.at, page.Reached)
	return true
}
