package live

import (
	"errors"
	"slices"

	"fabric-guild/events"
)

// Watch calls ring once at the start, and then whenever a message that wakes user passes this server's
// router; message says that there is one. It is a session without a client: it follows joins and leaves as a
// stream does, and does not count as one of the user's streams. ring must not block. The watch ends when stop
// is called, when the user's position is lost, or when the router closes; then ended is closed, and ring is
// called once more. The error is ErrClosed.
func (r *Router) Watch(user string, ring func(message bool)) (stop func(), ended <-chan struct{}, err error) {
	over := make(chan struct{})
	end := func() {
		close(over)
		go ring(false) // not here: whoever ends the watch may hold what ring waits for
	}
	opts := Options{
		User: user, Filter: events.Filter{Wakeup: true, Types: []string{string(events.MessageCreated)}},
		Uncounted: true, Ended: end,
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
type watcher func(message bool)

// Send rings for a message and for the end of the backlog. A scan finds the messages from before the watch.
func (ring watcher) Send(frames []*events.Frame) error {
	is := func(name string) bool {
		return slices.ContainsFunc(frames, func(f *events.Frame) bool { return f.Event == name })
	}
	if message := is(string(events.MessageCreated)); message || is(events.StreamLive) {
		ring(message)
	}
	return nil
}

// Close does nothing: Send never blocks.
func (ring watcher) Close() {}

// Name returns the transport's name in metrics.
func (ring watcher) Name() string { return "watch" }
