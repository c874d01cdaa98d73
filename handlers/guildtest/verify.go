package guildtest

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Whole is a key for Verify that compares cursors as they are.
func Whole(cursor string) string { return cursor }

// Number is a key for Verify that compares cursors over restarts of Postgres, where each starts an epoch.
func Number(cursor string) string { return strconv.Itoa(seq(cursor)) }

func seq(cursor string) int {
	_, n, _ := strings.Cut(cursor, ".")
	i, _ := strconv.Atoi(n)
	return i
}

// before orders cursors: a later epoch may begin below where an earlier one ended.
func before(a, b string) bool {
	x, y := epoch(a), epoch(b)
	return x < y || x == y && seq(a) < seq(b)
}

func epoch(cursor string) int {
	e, _, _ := strings.Cut(cursor, ".")
	i, _ := strconv.Atoi(e)
	return i
}

// Verify compares what a reader got with what was acknowledged, after Finish: everything, once, in order, and
// without a reset. Messages whose post was not answered, or by a 503, may be there, and none else. Cursors are
// the same when their keys are.
func (l *Load) Verify(r *Reader, key func(cursor string) string) {
	l.t.Helper()
	for _, reset := range r.Record().Resets {
		l.t.Errorf("%s: got %s, want to resume", r.User, reset.Data)
	}
	l.verify(r, key, nil)
}

// VerifyReset is Verify for a reader whose Postgres was replaced by one that lacks its latest events: it was
// reset once, for this reason, and what the stream then leaves out is in the history. What earlier epochs have
// beyond the base is lost, wherever it was acknowledged.
func (l *Load) VerifyReset(r *Reader, reason string, base string) {
	l.t.Helper()
	resets := r.Record().Resets
	if len(resets) != 1 || !strings.Contains(resets[0].Data, fmt.Sprintf("%q:%q", "reason", reason)) {
		l.t.Fatalf("%s: got resets %v, want one because of %s", r.User, resets, reason)
	}
	lost := func(cursor string) bool { return epoch(cursor) < epoch(base) && seq(cursor) > seq(base) }
	past := func(cursor string) bool { return epoch(cursor) == epoch(base) && !before(resets[0].ID, cursor) }
	l.verify(r, Whole, func(cursor string) bool { return lost(cursor) || past(cursor) })

	history := map[string]bool{}
	for _, channel := range l.Channels {
		for next := ""; ; {
			var page struct {
				Items []struct{ Content string }
				Next  string
			}
			l.node.Get("/api/channels/"+channel+"/messages?limit=200&before="+next, r.token, &page)
			for _, m := range page.Items {
				history[m.Content] = true
			}
			if next = page.Next; next == "" {
				break
			}
		}
	}
	for cursor, content := range l.posted {
		if !lost(cursor) && !history[content] {
			l.t.Errorf("%s: got no %q in the history, which was acknowledged as %s", r.User, content, cursor)
		}
	}
}

func (l *Load) verify(r *Reader, key func(cursor string) string, maybeLost func(cursor string) bool) {
	l.t.Helper()
	record := r.Record()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, fault := range record.Faults {
		l.t.Errorf("%s: %s", r.User, fault)
	}
	got, times, last := map[string]string{}, map[string]int{}, 0
	for _, f := range record.Frames {
		if f.Event == "stream.reset" {
			last = 0
		}
		if f.Event != "message.created" {
			continue
		}
		var m struct{ Content string }
		if err := json.Unmarshal([]byte(f.Data), &m); err != nil {
			l.t.Errorf("%s: %v in %q", r.User, err, f.Data)
		}
		if seq(f.ID) <= last {
			l.t.Errorf("%s: got %s after number %d, want the log's order", r.User, f.ID, last)
		}
		if times[m.Content]++; times[m.Content] == 2 {
			l.t.Errorf("%s: got %q twice", r.User, m.Content)
		}
		last, got[key(f.ID)] = seq(f.ID), m.Content
	}
	lost := 0
	for cursor, content := range l.posted {
		if got[key(cursor)] == content || maybeLost != nil && maybeLost(cursor) {
			continue
		}
		if lost++; lost <= 3 {
			l.t.Errorf("%s: got %q as %s, want %q, which was acknowledged", r.User, got[key(cursor)], cursor, content)
		}
	}
	if lost > 3 {
		l.t.Errorf("%s: and %d more", r.User, lost-3)
	}
	// Whether a post happened is not known when it was not answered, or by a 503.
	if unknown := l.counts.Refused + l.counts.Failed; len(got) > len(l.posted)+unknown {
		l.t.Errorf("%s: got %d messages, want %d, and at most %d that were not acknowledged", r.User, len(got), len(l.posted), unknown)
	}
}
