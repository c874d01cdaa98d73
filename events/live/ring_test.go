package live

import (
	"slices"
	"strings"
	"testing"

	"fabric-guild/events"
)

func TestRing(t *testing.T) {
	t.Parallel()
	r := ring{floor: 10}
	for seq := int64(12); seq < 12+2*(ringEvents+5); seq += 2 { // with gaps
		r.push(&events.Event{Cursor: events.Cursor{Epoch: 1, Seq: seq}})
	}
	if len(r.events) != ringEvents || r.floor != 12+2*4 {
		t.Errorf("got %d events above %d, want %d above %d", len(r.events), r.floor, ringEvents, 12+2*4)
	}
	if _, ok := r.after(r.floor-1, 5); ok {
		t.Error("it claims to cover what it has dropped")
	}
	for _, at := range []int64{r.floor, r.floor + 1} {
		got, ok := r.after(at, 2)
		if !ok || len(got) != 2 || got[0].Cursor.Seq != r.floor+2 || got[1].Cursor.Seq != r.floor+4 {
			t.Errorf("after %d: got %v, %v", at, got, ok)
		}
	}
	last := r.events[len(r.events)-1].Cursor.Seq
	if got, ok := r.after(last, 5); !ok || len(got) != 0 {
		t.Errorf("after the last: got %v, %v; want nothing", got, ok)
	}
	large := ring{}
	for range 100 {
		large.push(&events.Event{Message: &events.Message{Content: strings.Repeat("x", 1<<20)}})
	}
	if large.size > ringBytes || len(large.events) == 0 {
		t.Errorf("it holds %d bytes in %d events, want at most %d", large.size, len(large.events), ringBytes)
	}
}

// A stream that reads the ring holds about as many bytes as its queue may hold, however large the frames are.
func TestAPartOfTheRingIsBoundedByBytes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		from := l.create(ops, "alice", "bob")
		n := newNode(t, l)
		var last events.Cursor
		for range queueFrames {
			last = l.post(ops, "alice", strings.Repeat("\x01", 10000))
		}
		settle()
		most, frames := 0, 0
		done := make(chan struct{})
		s, err := n.Open(t.Context(), Options{User: "bob", Resume: &from})
		if err != nil {
			t.Fatal(err)
		}
		s.Start(sent(func(part []*events.Frame) {
			size := 0
			for _, f := range part {
				size += len(f.SSE())
				if f.Event == "message.created" {
					frames++
				}
				if f.Event == events.StreamLive && f.ID == last.String() {
					close(done)
				}
			}
			most = max(most, size)
		}))
		<-done
		s.Abort()
		if frames != queueFrames || most > queueBytes+100000 {
			t.Errorf("got %d frames, with %d bytes at once; want %d, with %d or a frame more", frames, most,
				queueFrames, queueBytes)
		}
	})
}

// After a rename, the events of the author in the ring show the new name, and those of others stay.
func TestRenameInTheRing(t *testing.T) {
	t.Parallel()
	r := NewRouter(nil, events.Cursor{Epoch: 1, Seq: 10})
	for seq, author := range []string{"bob", "alice", "bob"} {
		r.publish(&events.Event{
			Cursor: events.Cursor{Epoch: 1, Seq: int64(11 + seq)}, Kind: events.MessageCreated,
			Message: &events.Message{XType: events.General, AuthorUserID: author, AuthorKind: events.Human},
		})
	}
	r.publish(&events.Event{
		Cursor: events.Cursor{Epoch: 1, Seq: 14}, Kind: events.TurnChanged,
		UserID: "bob",
	})
	before := slices.Clone(r.ring.events)
	r.Rename([]events.Profile{
		{UserID: "bob", Kind: events.Agent, Name: "Bob"},
		{UserID: "alice", Kind: events.Human},
	})
	size := 0
	for i, e := range r.ring.events {
		size += e.Size()
		if by := before[i].Message; by != nil && by.AuthorUserID == "bob" {
			if e.Message.AuthorName != "Bob" || e.Message.AuthorKind != events.Agent || by.AuthorName != "" ||
				e.Cursor != before[i].Cursor {
				t.Errorf("got %+v, want a copy of event %d by the agent Bob", e.Message, i)
			}
		} else if e != before[i] {
			t.Errorf("got %+v, want event %d as it was", e, i)
		}
	}
	if r.ring.size != size {
		t.Errorf("the ring counts %d bytes, want %d", r.ring.size, size)
	}
}
