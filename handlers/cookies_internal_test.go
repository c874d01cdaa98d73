package handlers

import (
	"testing"

	"fabric-guild/events"
	"fabric-guild/events/live"
	"fabric-guild/handlers/auth"
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
	x := auth.NewSessions(func() ([]byte, error) { return []byte("secret"), nil })
	value, err := x.Seal("token")
	if err != nil {
		t.Fatal(err)
	}
	id, _, err := x.Open(value)
	if err != nil {
		t.Fatal(err)
	}
	l := &listener{server: &Server{sessions: x}, id: auth.Identity{Session: id}}
	x.Join(id, l)
	x.Close(id)
	s, err := live.NewRouter(nil, events.Cursor{}).Open(t.Context(),
		live.Options{User: "alice", Ended: func() { x.Part(id, l) }})
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
