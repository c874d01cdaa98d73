package agent

import (
	"bytes"
	"io"
	"sync/atomic"
	"time"
)

const (
	// sharedQueue is how many writes wait at most. One of a command has 32 KiB at most.
	sharedQueue = 64
	// sharedPatience is how long a write waits for a reader that reads nothing.
	sharedPatience = time.Second
)

// A shared lets the commands and the agent write to stderr at the same time, one write after the other. Its
// Write never fails, and never blocks for long: a reader that is gone or that stands still must hold up
// neither a command nor the end of a wake. What the reader does not take in time is dropped.
type shared struct {
	queue   chan []byte
	written chan struct{} // closed when all of queue was written
	stuck   atomic.Bool   // the last write was dropped
}

// share returns a shared for to. The caller must close it.
func share(to io.Writer) *shared {
	s := &shared{queue: make(chan []byte, sharedQueue), written: make(chan struct{})}
	go func() {
		defer close(s.written)
		for b := range s.queue {
			_, _ = to.Write(b)
		}
	}()
	return s
}

func (s *shared) Write(p []byte) (int, error) {
	b := bytes.Clone(p)
	select {
	case s.queue <- b:
		s.stuck.Store(false)
		return len(p), nil
	default:
	}
	if s.stuck.Load() { // the write before has waited
		return len(p), nil
	}
	patience := time.NewTimer(sharedPatience)
	defer patience.Stop()
	select {
	case s.queue <- b:
	case <-patience.C:
		s.stuck.Store(true)
	}
	return len(p), nil
}

// close blocks until everything is written, or until the reader has had its time. Nobody may write any more.
func (s *shared) close() {
	close(s.queue)
	select {
	case <-s.written:
	case <-time.After(sharedPatience):
	}
}
