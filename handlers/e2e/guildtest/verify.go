package guildtest

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Whole is a key for Verify. It compares whole cursors.
func Whole(cursor string) string { return cursor }

// Number is a key for Verify. It compares only the numbers of cursors, because each restart of Postgres
// begins an epoch.
func Number(cursor string) string { return strconv.Itoa(seq(cursor)) }

// seq returns the number in a cursor.
func seq(cursor string) int {
	_, n, _ := strings.Cut(cursor, ".")
	i, _ := strconv.Atoi(n)
	return i
}

// before reports whether cursor a is before cursor b. It compares epochs first, because a later epoch may
// begin with a smaller number.
func before(a, b string) bool {
	if epoch(a) != epoch(b) {
		return epoch(a) < epoch(b)
	}
	return seq(a) < seq(b)
}

func epoch(cursor string) int {
	e, _, _ := strings.Cut(cursor, ".")
	i, _ := strconv.Atoi(e)
	return i
}

// Verify compares the messages of a reader with the acknowledged posts. The test must call it after Finish.
// The reader must have got every acknowledged message, once, in order, and without a reset. A message whose
// post got no answer, or a 503, may be there too, but no other message. Two cursors are the same if their
// keys are the same.
func (l *Load) Verify(r *Reader, key func(cursor string) string) {
	l.t.Helper()
	for _, reset := range r.Record().Resets {
		l.t.Errorf("%s: got %s, want to resume", r.User, reset.Data)
	}
	l.verify(r, key, nil)
}

// VerifyReset is like Verify, but for a Postgres that was replaced by one without the latest events. The
// reader must have got exactly one reset, with this reason. Messages that its stream leaves out after the
// reset must be in the history. base is the last cursor that the new Postgres has. Acknowledged messages of
// earlier epochs after base may be lost.
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
		next := ""
		for {
			var page struct {
				Items []struct{ Content string }
				Next  string
			}
			l.node.Get("/api/channels/"+channel+"/messages?limit=200&before="+next, r.token, &page)
			for _, m := range page.Items {
				history[m.Content] = true
			}
			next = page.Next
			if next == "" {
				break
			}
		}
	}
	for cursor, content := range l.posted {
		if !lost(cursor) && !history[content] {
			l.t.Errorf("%s: the history has no %q, which was acknowledged as %s", r.User, content, cursor)
		}
	}
}

// verify compares the messages of a reader with the acknowledged posts. If maybeLost is not nil, messages for
// which it returns true may be missing.
func (l *Load) verify(r *Reader, key func(cursor string) string, maybeLost func(cursor string) bool) {
	l.t.Helper()
	record := r.Record()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, fault := range record.Faults {
		l.t.Errorf("%s: %s", r.User, fault)
	}
	got := map[string]string{} // key of the cursor to content
	times := map[string]int{}  // content to number of times
	last := 0
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
			l.t.Errorf("%s: got %s after number %d, want the order of the event log", r.User, f.ID, last)
		}
		times[m.Content]++
		if times[m.Content] == 2 {
			l.t.Errorf("%s: got %q twice", r.User, m.Content)
		}
		last = seq(f.ID)
		got[key(f.ID)] = m.Content
	}
	lost := 0
	for cursor, content := range l.posted {
		if got[key(cursor)] == content || maybeLost != nil && maybeLost(cursor) {
			continue
		}
		lost++
		if lost <= 3 {
			l.t.Errorf("%s: got %q as %s, want %q, which was acknowledged",
				r.User, got[key(cursor)], cursor, content)
		}
	}
	if lost > 3 {
		l.t.Errorf("%s: and %d more", r.User, lost-3)
	}
	// If a post got no answer, or a 503, the message may be stored or not.
	if unknown := l.counts.Refused + l.counts.Failed; len(got) > len(l.posted)+unknown {
		l.t.Errorf("%s: got %d messages, want %d, and at most %d more that were not acknowledged",
			r.User, len(got), len(l.posted), unknown)
	}
}
