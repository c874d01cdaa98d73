package events

import (
	"bytes"
	"cmp"
	"iter"
	"math"
	"slices"
	"sort"

	"github.com/google/uuid"
)

// An Interval is one membership of a user in a channel. The member hears the events in [Joined, Left], the
// last of which reports the leave. Left is 0 while the membership lasts.
type Interval struct {
	ChannelID uuid.UUID
	Joined    int64
	Left      int64
}

// Covers reports whether the member of i hears e.
func (i Interval) Covers(e *Event) bool {
	return i.ChannelID == e.ChannelID && i.Joined <= e.Cursor.Seq && (i.Left == 0 || e.Cursor.Seq <= i.Left)
}

// Intervals holds the memberships of one user, ordered by channel and then by their first number. Intervals
// of one channel never overlap, so every look-up is a binary search. It must be fast: a user can leave and
// rejoin thousands of times, and the router asks under the lock that all users share. The zero value is
// empty. An Intervals is not safe for concurrent use.
type Intervals struct {
	all   []Interval
	ended int // the number of intervals in all that have an end
	prune int // Forget does nothing until ended exceeds this number
}

// pruneFrom is the least number of ended intervals that Forget looks at.
const pruneFrom = 64

// NewIntervals returns the intervals of a list in any order. It takes the list over and sorts it. Where two
// intervals have the same beginning, the first one counts.
func NewIntervals(all []Interval) (s Intervals) {
	slices.SortStableFunc(all, Interval.order)
	s.all = slices.CompactFunc(all, func(a, b Interval) bool { return a.order(b) == 0 })
	for _, i := range s.all {
		if i.Left != 0 {
			s.ended++
		}
	}
	return s
}

// order compares by channel and first number.
func (i Interval) order(o Interval) int {
	return cmp.Or(bytes.Compare(i.ChannelID[:], o.ChannelID[:]), cmp.Compare(i.Joined, o.Joined))
}

// after returns the index of the first interval of the channel that begins after seq, or of the next channel.
func (s *Intervals) after(channel uuid.UUID, seq int64) int {
	at := Interval{ChannelID: channel, Joined: seq}
	return sort.Search(len(s.all), func(i int) bool { return s.all[i].order(at) > 0 })
}

// Of returns the interval by which the user hears e as a member.
func (s *Intervals) Of(e *Event) (Interval, bool) {
	i := s.after(e.ChannelID, e.Cursor.Seq) - 1
	if i < 0 || !s.all[i].Covers(e) {
		return Interval{}, false
	}
	return s.all[i], true
}

// Current returns the interval of a channel that lasts.
func (s *Intervals) Current(channel uuid.UUID) (Interval, bool) {
	i := s.after(channel, math.MaxInt64) - 1
	if i < 0 || s.all[i].ChannelID != channel || s.all[i].Left != 0 {
		return Interval{}, false
	}
	return s.all[i], true
}

// Lasting returns the number of intervals that last.
func (s *Intervals) Lasting() int { return len(s.all) - s.ended }

// Open yields the channels of the intervals that last.
func (s *Intervals) Open() iter.Seq[uuid.UUID] {
	return func(yield func(uuid.UUID) bool) {
		for _, i := range s.all {
			if i.Left == 0 && !yield(i.ChannelID) {
				return
			}
		}
	}
}

// Insert adds an interval, unless one with the same beginning is there.
func (s *Intervals) Insert(i Interval) {
	at := s.after(i.ChannelID, i.Joined)
	if at > 0 && s.all[at-1].order(i) == 0 {
		return
	}
	s.all = slices.Insert(s.all, at, i)
	if i.Left != 0 {
		s.ended++
	}
}

// End ends the user's open interval of a channel. It returns false if there is none.
func (s *Intervals) End(channel uuid.UUID, seq int64) bool {
	i := s.after(channel, seq) - 1
	if i < 0 || s.all[i].ChannelID != channel || s.all[i].Left != 0 {
		return false
	}
	s.all[i].Left = seq
	s.ended++
	return true
}

// Forget drops intervals that ended at or below floor. It looks only when the number of ended intervals has
// doubled since the last time. So a leave costs the same on average, however many intervals there are.
func (s *Intervals) Forget(floor int64) {
	if s.ended <= max(s.prune, pruneFrom) {
		return
	}
	s.all = slices.DeleteFunc(s.all, func(i Interval) bool {
		drop := i.Left != 0 && i.Left <= floor
		if drop {
			s.ended--
		}
		return drop
	})
	s.prune = 2 * s.ended
}
