package guildtest

import (
	"encoding/json"
	"fmt"
	"hash"
	"hash/fnv"
	"maps"
	"slices"
)

// A tally is what is kept of a stream's messages where many streams go on for long: how many they are, and a
// sum over all of them in their order.
type tally struct {
	count int
	sum   hash.Hash64
}

func newTally() *tally { return &tally{sum: fnv.New64a()} }

func (y *tally) add(cursor, content string) {
	y.count++
	_, _ = fmt.Fprintf(y.sum, "%s %s\n", cursor, content) // never fails
}

func (y *tally) String() string { return fmt.Sprintf("%d messages (sum %x)", y.count, y.sum.Sum64()) }

// ListenMany starts a reader for each user that keeps no more of its stream than VerifyMany needs.
func (l *Load) ListenMany(users []string, base func() string) []*Reader {
	l.t.Helper()
	var all []*Reader
	for i, token := range l.node.Tokens(users...) {
		all = append(all, l.listen(&Reader{User: users[i], base: base, http: client, token: token, tally: newTally()}))
	}
	return all
}

// VerifyMany is Verify for such readers, where each post was acknowledged: the same messages in the same order.
func (l *Load) VerifyMany(readers []*Reader) {
	l.t.Helper()
	if l.counts.Refused+l.counts.Failed > 0 {
		l.t.Fatalf("got %+v, want each post acknowledged", l.counts)
	}
	want := newTally()
	for _, cursor := range slices.SortedFunc(maps.Keys(l.posted), func(a, b string) int { return seq(a) - seq(b) }) {
		want.add(cursor, l.posted[cursor])
	}
	for _, r := range readers {
		r.mu.Lock()
		if got := r.tally.String(); got != want.String() || len(r.got.Faults)+len(r.got.Resets) > 0 {
			l.t.Errorf("%s: got %s, faults %v and resets %v, want %s and none", r.User, got, r.got.Faults, r.got.Resets, want)
		}
		r.mu.Unlock()
	}
}

// Lag is how far the slowest reader is behind what was acknowledged, in numbers of the log.
func (l *Load) Lag() int {
	l.mu.Lock()
	last := 0
	for _, a := range l.latest {
		last = max(last, seq(a.cursor))
	}
	l.mu.Unlock()
	lag := 0
	for _, r := range l.readers {
		lag = max(lag, last-seq(r.Record().Cursor))
	}
	return lag
}

// takeLean adds a frame to the reader's tally. r.mu is held.
func (r *Reader) takeLean(f Frame) {
	if f.Event != "message.created" {
		return
	}
	var m struct{ Content string }
	if err := json.Unmarshal([]byte(f.Data), &m); err != nil {
		r.got.Faults = append(r.got.Faults, err.Error())
	}
	r.tally.add(f.ID, m.Content)
}
