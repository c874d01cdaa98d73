package live

import "fabric-guild/events"

// work is the stream's worker. It returns when there is nothing left to do.
func (s *Session) work() {
	var batch []*events.Frame
	for {
		s.mu.Lock()
		if len(s.queue) == 0 && s.bye == nil && s.phase == live {
			s.working = false
			s.spareLocked(batch)
			s.mu.Unlock()
			return
		}
		phase, bye := s.phase, s.bye
		batch, s.queue, s.bytes = s.queue, nil, 0
		s.signals, s.signalBytes = 0, 0
		s.mu.Unlock()

		switch {
		case phase == ended:
			s.end()
			return
		case len(batch) > 0:
			s.send(batch)
		case bye != nil:
			s.router.release(s)
			s.send([]*events.Frame{bye})
			s.Abort()
		default:
			s.catchUp()
		}
	}
}

// spareLocked keeps the slice that was written last for the next queue, if it is small: a quiet stream must
// not hold a large one. s.mu is held.
func (s *Session) spareLocked(batch []*events.Frame) {
	if cap(batch) <= spareFrames {
		clear(batch)
		s.queue = batch[:0]
	}
}

// send writes frames, and notes how far the stream has come. It returns false if the stream is over.
func (s *Session) send(frames []*events.Frame) bool {
	if len(frames) == 0 {
		return true
	}
	s.writing.Lock()
	err := s.writeLocked(frames)
	s.writing.Unlock()
	if err != nil {
		s.Fail(err)
		return false
	}
	var shown int64
	for _, f := range frames {
		shown = max(shown, f.Seq)
		if f.Event == events.StreamLive {
			s.resumed = false
		}
	}
	if shown > 0 {
		s.at = max(s.at, shown)
		s.mu.Lock()
		s.shown = shown
		s.mu.Unlock()
	}
	return true
}

// end removes the stream from the router.
func (s *Session) end() {
	s.mu.Lock()
	if s.timer != nil {
		s.timer.Stop()
	}
	counted := s.bye != nil
	ending := s.ending
	s.mu.Unlock()
	if s.to != nil {
		s.to.Close()
		s.router.counters.Open.add(s.to.Name(), -1)
		if !counted {
			s.router.counters.Closed.add(ending, 1)
		}
	}
	s.router.forget(s)
	if s.opts.Ended != nil {
		s.opts.Ended()
	}
}

// writeLocked writes frames and counts them. s.writing is held.
func (s *Session) writeLocked(frames []*events.Frame) error {
	dressed := s.opts.Format.Dress(frames)
	if err := s.to.Send(dressed); err != nil {
		return err
	}
	var size int64
	for _, f := range dressed {
		size += int64(len(f.SSE()))
	}
	c := &s.router.counters
	c.Writes.Add(1)
	c.WrittenFrames.Add(int64(len(frames)))
	c.WrittenBytes.Add(size)
	return nil
}
