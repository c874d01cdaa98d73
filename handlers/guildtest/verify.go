package guildtest

import (
	"encoding/json"
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

// Verify compares what a reader got with what was acknowledged, after Finish: everything, once, in order.
// Messages whose post was not answered, or by a 503, may be there, and none else. Cursors are the same when
// their keys are.
func (l *Load) Verify(r *Reader, key func(cursor string) string) {
	l.t.Helper()
	record := r.Record()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, fault := range record.Faults {
		l.t.Errorf("%s: %s", r.User, fault)
	}
	got, times, last := map[string]string{}, map[string]int{}, 0
	for _, f := range record.Messages() {
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
		if got[key(cursor)] == content {
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
