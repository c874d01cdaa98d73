package events

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// The binary search finds the same interval as a walk over all intervals, after random joins and leaves. Many
// short histories cost less than a long one, because each walk is as long as its history.
func TestIntervalsAreFoundAsByAWalk(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		wantFoundAsByAWalk(t, rand.New(rand.NewPCG(1, seed)))
	}
}

func wantFoundAsByAWalk(t *testing.T, random *rand.Rand) {
	t.Helper()
	var found Intervals
	var all []Interval
	open := map[int]bool{}
	seq := int64(0)
	for range 200 {
		seq += 1 + random.Int64N(3)
		n := random.IntN(5)
		channel := channelNamed(n)
		if open[n] {
			if !found.End(channel, seq) {
				t.Fatalf("channel %d: its interval was not found at %d", n, seq)
			}
			for i := range all {
				if all[i].ChannelID == channel && all[i].Left == 0 {
					all[i].Left = seq
				}
			}
		} else {
			if found.End(channel, seq) {
				t.Fatalf("channel %d: an interval ended that had ended before %d", n, seq)
			}
			found.Insert(Interval{ChannelID: channel, Joined: seq})
			all = append(all, Interval{ChannelID: channel, Joined: seq})
		}
		open[n] = !open[n]
	}
	loaded := NewIntervals(slices.Clone(all))
	for at := range seq + 2 {
		for n := range 6 {
			e := &Event{Cursor: Cursor{1, at}, ChannelID: channelNamed(n)}
			var want Interval
			if i := slices.IndexFunc(all, func(i Interval) bool { return i.Covers(e) }); i >= 0 {
				want = all[i]
			}
			if got, _ := found.Of(e); got != want {
				t.Fatalf("channel %d at %d: got %v, want %v", n, at, got, want)
			}
			if got, _ := loaded.Of(e); got != want {
				t.Fatalf("channel %d at %d, loaded: got %v, want %v", n, at, got, want)
			}
		}
	}
}

// A leave costs the same however often the user left before: Forget looks at the ended intervals only when
// their number has doubled.
func TestEndedIntervalsAreSeldomLookedThrough(t *testing.T) {
	t.Parallel()
	var s Intervals
	const leaves = 10000
	looked := 0
	for i := range int64(leaves) {
		s.Insert(Interval{ChannelID: ops, Joined: 2*i + 1})
		s.End(ops, 2*i+2)
		before := s.prune
		if s.Forget(0); s.prune != before { // the ring covers all of them
			looked++
		}
	}
	if len(s.all) != leaves || looked > 10 {
		t.Errorf("got %d intervals, looked through %d times; want %d, at most 10 times", len(s.all),
			looked, leaves)
	}
	for i := range int64(leaves) { // the ring moves on
		at := 2*leaves + 2*i
		s.Insert(Interval{ChannelID: ops, Joined: at + 1})
		s.End(ops, at+2)
		s.Forget(at)
	}
	if len(s.all) > 2*leaves || len(s.all) != s.ended {
		t.Errorf("got %d intervals and a count of %d, want at most %d", len(s.all), s.ended, 2*leaves)
	}
	for i := range int64(leaves) {
		at := 4*leaves + 2*i
		s.Insert(Interval{ChannelID: ops, Joined: at + 1})
		s.End(ops, at+2)
		s.Forget(at)
	}
	if len(s.all) > 4*pruneFrom {
		t.Errorf("got %d intervals, want at most %d once the ring has passed", len(s.all), 4*pruneFrom)
	}
}
