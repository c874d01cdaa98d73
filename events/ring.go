package events

import "sort"

// A ring holds the most recent events, so that those who were away for a moment need not read the log: after
// a deploy all of them come back at once. It covers every number above floor. Not safe for concurrent use.
type ring struct {
	events []*Event
	size   int   // about how many bytes they hold
	floor  int64 // the last number that it does not cover
}

// Its bounds: about 10 s of heavy traffic, or a fixed amount of memory.
const (
	ringEvents = 16384
	ringBytes  = 64 << 20
)

func (r *ring) push(e *Event) {
	r.events = append(r.events, e)
	r.size += e.size()
	drop := 0
	for len(r.events)-drop > ringEvents || r.size > ringBytes {
		r.size -= r.events[drop].size()
		r.floor = r.events[drop].Cursor.Seq
		r.events[drop] = nil
		drop++
	}
	// append moves the rest to a fresh array when it reaches the end of this one
	r.events = r.events[drop:]
}

// after returns what follows position at, at most n events, and whether the ring reaches back that far.
func (r *ring) after(at int64, n int) ([]*Event, bool) {
	if at < r.floor {
		return nil, false
	}
	i := sort.Search(len(r.events), func(i int) bool { return r.events[i].Cursor.Seq > at })
	rest := r.events[i:]
	return rest[:min(n, len(rest))], true
}

// replace shows m as it is now in all that the ring tells of it, but not to those who are gone.
func (r *ring) replace(m *Message, gone []string) {
	from := sort.Search(len(r.events), func(i int) bool { return r.events[i].Cursor.Seq >= m.Seq })
	for i, e := range r.events[from:] {
		if e.Message != nil && e.Message.ID == m.ID {
			now := &Event{
				Cursor: e.Cursor, Kind: e.Kind, UserID: e.UserID, OccurredAt: e.OccurredAt,
				ChannelID: e.ChannelID, GuildID: e.GuildID, Name: e.Name, XType: e.XType, Message: m, Admin: e.Admin, Gone: gone,
			}
			r.size += now.size() - e.size()
			r.events[from+i] = now
		}
	}
}

// reset empties the ring; it covers what comes after floor.
func (r *ring) reset(floor int64) { *r = ring{floor: floor} }
