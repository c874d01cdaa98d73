package events

import (
	"bytes"
	"cmp"
	"slices"
	"sort"

	"github.com/google/uuid"
)

// intervals are the memberships of one user, ordered by channel and then by their first number. Intervals of one
// channel never overlap, so every look-up is a binary search: a user can leave and rejoin thousands of times, and
// the router asks under the lock that all users share. The zero value is empty. Not safe for concurrent use.
type intervals struct {
	all   []Interval
	ended int // how many of all have an end
	prune int // forget does nothing until ended exceeds this
}

// pruneFrom is the least number of ended intervals that forget looks at.
const pruneFrom = 64

// intervalsOf takes a list in any order; of two with the same beginning the first one counts.
func intervalsOf(list []Interval) (s intervals) {
	slices.SortStableFunc(list, Interval.order)
	s.all = slices.CompactFunc(list, func(a, b Interval) bool { return a.order(b) == 0 })
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
func (s *intervals) after(channel uuid.UUID, seq int64) int {
	at := Interval{ChannelID: channel, Joined: seq}
	return sort.Search(len(s.all), func(i int) bool { return s.all[i].order(at) > 0 })
}

// of returns the interval by which the user hears e as a member.
func (s *intervals) of(e *Event) (Interval, bool) {
	i := s.after(e.ChannelID, e.Cursor.Seq) - 1
	if i < 0 || !s.all[i].covers(e) {
		return Interval{}, false
	}
	return s.all[i], true
}

// insert adds an interval, unless it is there.
func (s *intervals) insert(i Interval) {
	at := s.after(i.ChannelID, i.Joined)
	if at > 0 && s.all[at-1].order(i) == 0 {
		return
	}
	s.all = slices.Insert(s.all, at, i)
	if i.Left != 0 {
		s.ended++
	}
}

// end ends the user's open interval of a channel. It answers false if there is none.
func (s *intervals) end(channel uuid.UUID, seq int64) bool {
	i := s.after(channel, seq) - 1
	if i < 0 || s.all[i].ChannelID != channel || s.all[i].Left != 0 {
		return false
	}
	s.all[i].Left = seq
	s.ended++
	return true
}

// forget drops intervals that ended at or below floor. It looks only when the ended ones have doubled since it
// looked last, so a leave costs the same on average however many there are.
func (s *intervals) forget(floor int64) {
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
