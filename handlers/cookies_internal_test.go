package handlers

import (
	"errors"
	"testing"

	"fabric-guild/events"
	"fabric-guild/events/live"
)

// taken is a transport that hands over the names of the frames that it takes.
type taken chan string

func (t taken) Send(frames []*events.Frame) error {
	for _, f := range frames {
		t <- f.Event
	}
	return nil
}
func (taken) Close()       {}
func (taken) Name() string { return "taken" }

// A session that is closed after its cookie was checked, and before the stream is open, ends that stream too.
func TestASessionThatIsClosedWhileItsStreamOpens(t *testing.T) {
	t.Parallel()
	x := newSessions(func() ([]byte, error) { return []byte("secret"), nil })
	value, err := x.seal("token")
	if err != nil {
		t.Fatal(err)
	}
	id, _, err := x.open(value)
	if err != nil {
		t.Fatal(err)
	}
	l := &listener{server: &Server{sessions: x}, id: Identity{session: id}}
	x.join(l)
	for _, l := range x.close(id) {
		l.revoke()
	}
	s, err := live.NewRouter(nil, events.Cursor{}).Open(live.Options{User: "alice", Ended: func() { x.part(l) }})
	if err != nil {
		t.Fatal(err)
	}
	l.opened(s)
	frames := make(taken, 8)
	s.Start(frames)
	if got, want := <-frames, "stream.closing"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// Closed sessions are remembered, up to a bound; then the oldest is forgotten.
func TestClosedSessionsAreBounded(t *testing.T) {
	t.Parallel()
	x := newSessions(func() ([]byte, error) { return []byte("secret"), nil })
	values := make([]string, closedSessions+2)
	for i := range values {
		var err error
		if values[i], err = x.seal("token"); err != nil {
			t.Fatal(err)
		}
		id, _, err := x.open(values[i])
		if err != nil {
			t.Fatal(err)
		}
		x.close(id)
		x.close(id) // once more takes no room
	}
	for i, value := range values {
		_, _, err := x.open(value)
		if forgotten := i < 2; forgotten != (err == nil) || !forgotten && !errors.Is(err, errTokenInvalid) {
			t.Fatalf("session %d of %d: got error %v", i, len(values), err)
		}
	}
	if got := len(x.closed); got != closedSessions {
		t.Errorf("got %d sessions remembered, want %d", got, closedSessions)
	}
}
