package guildtest

import (
	"encoding/json"
	"fmt"
	"hash"
	"hash/fnv"
	"maps"
	"slices"
)

// A tally stands for the messages of a stream. It has their number and a hash of all messages in their order.
// It saves memory in tests with many long streams.
type tally struct {
	count int
	sum   hash.Hash64
}

func newTally() *tally { return &tally{sum: fnv.New64a()} }

func (y *tally) add(cursor, content string) {
	y.count++
	_, _ = fmt.Fprintf(y.sum, "%s %s\n", cursor, content) // a hash never returns an error
}

func (y *tally) String() string { return fmt.Sprintf("%d messages (sum %x)", y.count, y.sum.Sum64()) }

// ListenMany starts a reader for each user. These readers keep only what VerifyMany needs.
func (l *Load) ListenMany(users []string, base func() string) []*Reader {
	l.t.Helper()
	var all []*Reader
	for i, token := range l.node.Tokens(users...) {
		r := &Reader{User: users[i], base: base, http: client, token: token, tally: newTally()}
		all = append(all, l.listen(r))
	}
	return all
}

// VerifyMany checks readers of ListenMany. Each must have got all messages in order and without a reset. All
// posts must have been acknowledged.
func (l *Load) VerifyMany(readers []*Reader) {
	l.t.Helper()
	if l.counts.Refused+l.counts.Failed > 0 {
		l.t.Fatalf("got %+v, want each post acknowledged", l.counts)
	}
	want := newTally()
	cursors := slices.SortedFunc(maps.Keys(l.posted), func(a, b string) int { return seq(a) - seq(b) })
	for _, cursor := range cursors {
		want.add(cursor, l.posted[cursor])
	}
	for _, r := range readers {
		r.mu.Lock()
		if got := r.tally.String(); got != want.String() || len(r.got.Faults)+len(r.got.Resets) > 0 {
			l.t.Errorf("%s: got %s, faults %v and resets %v, want %s, no faults and no resets",
				r.User, got, r.got.Faults, r.got.Resets, want)
		}
		r.mu.Unlock()
	}
}

// Lag returns how many numbers of the event log the slowest reader is behind the last acknowledged post.
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

// addToTallyLocked adds a frame to the reader's tally if it is a message.
func (r *Reader) addToTallyLocked(f Frame) {
	if f.Event != "message.created" {
		return
	}
	var m struct{ Content string }
	if err := json.Unmarshal([]byte(f.Data), &m); err != nil {
		r.got.Faults = append(r.got.Faults, err.Error())
	}
	r.tally.add(f.ID, m.Content)
}
