package events

// Watch calls ring whenever a message that wakes user passes this server's router, and once at the start. It is
// a session without a client: it follows joins and leaves as a stream does, and does not count as one of the
// user's streams. It ends with stop, and by itself when the user's position is lost or the router closes; then
// ended is closed. ring must not block. ErrClosed; ErrNewEpoch: try again.
func (r *Router) Watch(user string, ring func()) (stop func(), ended <-chan struct{}, err error) {
	over := make(chan struct{})
	at := r.Position()
	s, err := r.Open(Options{
		User: user, Filter: Filter{Wakeup: true, Types: []string{string(MessageCreated)}},
		Resume: &at, Checked: at.Epoch, Uncounted: true, Ended: func() { close(over) },
	})
	if err != nil {
		return nil, nil, err
	}
	s.Start(watcher(ring))
	return s.Abort, over, nil
}

// A watcher is the transport of a Watch.
type watcher func()

// Send rings for a message, and for the end of the backlog: whatever came before is looked for by a scan.
func (ring watcher) Send(frames []*Frame) error {
	for _, f := range frames {
		if f.Event == string(MessageCreated) || f.Event == streamLive {
			ring()
			return nil
		}
	}
	return nil
}

// Close has nothing to end.
func (ring watcher) Close() {}

// Name is what metrics call it.
func (ring watcher) Name() string { return "watch" }
