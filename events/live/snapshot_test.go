package live

import (
	"strings"
	"testing"

	"fabric-guild/events"
)

func TestALongSnapshotHasItsIDAtTheEnd(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		channels, frames int
	}{{0, 1}, {1, 1}, {snapshotFrame, 1}, {snapshotFrame + 1, 2}, {2*snapshotFrame + 1, 3}} {
		var frames []*events.Frame
		s := &Session{
			router: NewRouter(nil, events.Cursor{Epoch: 1, Seq: 5}),
			to:     sent(func(f []*events.Frame) { frames = append(frames, f...) }),
		}
		var all []events.Membership
		for i := range tt.channels {
			all = append(all, events.Membership{Channel: events.Channel{ID: channelNamed(i)}})
		}
		at := events.Cursor{Epoch: 1, Seq: 5}
		snap := s.router.newSnapshot(s, at)
		snap.add(all, true)
		s.sendReady(t.Context(), events.Ready{Cursor: at, UserID: "alice"}, snap)
		if len(frames) != tt.frames {
			t.Errorf("%d channels: got %d frames, want %d", tt.channels, len(frames), tt.frames)
		}
		n := 0
		for i, f := range frames {
			n += strings.Count(string(f.Data), `"xType"`)
			if last := i == len(frames)-1; (f.ID == "1.5") != last {
				t.Errorf("%d channels: frame %d of %d has id %q", tt.channels, i, len(frames), f.ID)
			}
		}
		if n != tt.channels {
			t.Errorf("%d channels: the frames hold %d", tt.channels, n)
		}
	}
}

// A sent is a transport that passes on what it gets.
type sent func([]*events.Frame)

func (to sent) Send(frames []*events.Frame) error {
	to(frames)
	return nil
}

func (to sent) Close() {}

func (to sent) Name() string { return "sent" }
