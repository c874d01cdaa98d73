package live

import (
	"errors"

	"fabric-guild/events"
)

// Watch calls ring once at the start, and then whenever a message that wakes user passes this server's
// router. It is a session without a client: it follows joins and leaves as a stream does, and does not count
// as one of the user's streams. ring must not block. The watch ends when stop is called, when the user's
// position is lost, or when the router closes; then ended is closed. The error is ErrClosed.
func (r *Router) Watch(user string, ring func()) (stop func(), ended <-chan struct{}, err error) {
	over := make(chan struct{})
	opts := Options{
		User: user, Filter: events.Filter{Wakeup: true, Types: []string{string(events.MessageCreated)}},
		Uncounted: true, Ended: func() { close(over) },
	}
	for {
		at := r.Position()
		opts.Resume = &at // this server's own position needs no check
		s, err := r.openAt(at.Epoch, opts, "")
		if errors.Is(err, errNewEpoch) {
			continue // the router has moved to another epoch between the two calls
		}
		if err != nil {
			return nil, nil, err
		}
		s.Start(watcher(ring))
		return s.Abort, over, nil
	}
}

// A watcher is the transport of a Watch.
type watcher func()

// Send rings for a message and for the end of the backlog. A scan finds the messages from before the watch.
func (ring watcher) Send(frames []*events.Frame) error {
	for _, f := range frames {
		if f.Event == string(events.MessageCreated) || f.Event == events.StreamLive {
			ring()
			return nil
		}
	}
	return nil
}

// Close does nothing: Send never blocks.
func (ring watcher) Close() {}

// Name returns the transport's name in metrics.
func (ring watcher) Name() string { return "watch" }
