package handlers_test

import (
	"bufio"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"fabric-guild/db"

	"github.com/google/go-cmp/cmp"
)

// retain leaves the newest events of the log.
func (n *node) retain(t *testing.T, events int64) {
	t.Helper()
	if removed, _, err := n.db.Retain(t.Context(), db.Retention{Events: events}); err != nil || removed == 0 {
		t.Fatalf("got %d events removed, %v; want some", removed, err)
	}
}

// What was said stays, with all that is decided by it, when the events that told of it are gone.
func TestMessagesOutliveTheirEvents(t *testing.T) {
	t.Parallel()
	n := start(t, setup{admin: "adm"})
	ann, pam, adm := n.user("ann"), n.user("pam"), n.user("adm")
	fence := n.fence(t, "ann", "pam", "duty", "adm", "back")
	id := ann.makes(t, "triage", []string{"pam", "duty", "back"}, []string{"duty"}).Channel.ID
	first := ann.says(t, id, "look <@pam>").Message.ID
	n.user("back").leave(t, id)
	ann.wakes(t, id) // another list
	second := pam.says(t, id, "I do").Message.ID
	n.user("back").join(t, id)
	type all struct {
		History, OfBack []string
		First, Second   map[string]string
		Sync            []channel
		Room            roomy
	}
	look := func() all {
		t.Helper()
		return all{
			pam.history(t, id), n.user("back").history(t, id), ann.deliveries(t, first), ann.deliveries(t, second),
			pam.sync(t).Channels, call[roomy](t, pam, 200, "GET", "/api/channels/"+id, nil),
		}
	}
	before := look()
	from := fence()
	n.retain(t, 1)
	if left := n.count(t, `SELECT count(*) FROM events`); left != 1 {
		t.Fatalf("got %d events left, want the last", left)
	}
	if diff := cmp.Diff(before, look()); diff != "" {
		t.Errorf("what is left (-before +after):\n%s", diff)
	}

	edited := ann.edits(t, first, "look here")
	deleted := pam.deletes(t, second)
	last := fence()
	for _, r := range n.replays(t) {
		for _, hearer := range []*user{pam, n.user("duty"), adm} {
			got := here(hearer.at(r.n).resume(t, raw, "?echo=true", from).until(t, last), id)
			want := []string{edited.Cursor}
			if hearer == pam {
				want = append(want, deleted.Cursor) // to others it was nothing: nobody is on duty any more
			}
			if hearer == adm {
				want = append(want, deleted.Cursor)
			}
			if diff := cmp.Diff(want, ids(got)); diff != "" {
				t.Errorf("%s from the %s (-want +got):\n%s", hearer.id, r.name, diff)
			} else if m := data[fullHeard](t, got[0], "message.updated"); m.Content != "look here" || m.ID != first {
				t.Errorf("%s from the %s: got %+v, want the message as it now is", hearer.id, r.name, m)
			}
		}
	}
}

// Retention runs all the time, close to the end of the log, while a reader's connection breaks at random, and
// each time it comes back to a node that has nothing in memory. It hears everything, in order, or is told by a
// reset what it has not; who stays connected hears everything.
func TestRetentionLosesNothingOnStreams(t *testing.T) {
	long(t)
	t.Parallel()
	const kept, rounds = 300, 10
	n := start(t, setup{})
	porter := n.user("porter")
	ops := porter.general(t, "ops", "bob", "carol", "poster")
	steady, ready := n.user("carol").fresh(t, raw, "")

	working, stop := context.WithCancel(t.Context())
	defer stop()
	var mu sync.Mutex
	var acknowledged []string
	said := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(acknowledged)
	}
	var writing, work sync.WaitGroup
	for range 3 {
		writing.Go(func() {
			tick := time.NewTicker(pace)
			defer tick.Stop()
			for ; working.Err() == nil; <-tick.C {
				p, err := ask[posted](n.user("poster"), 201, "POST", "/api/channels/"+ops.Channel.ID+"/messages", body{"content": "hi"})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				acknowledged = append(acknowledged, p.Cursor)
				mu.Unlock()
			}
		})
	}
	work.Go(func() {
		for working.Err() == nil {
			if _, _, err := n.db.Retain(t.Context(), db.Retention{Events: kept}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	var heardBySteady []string
	work.Go(func() {
		for { // to the post below, after which nothing comes
			f, err := steady.read()
			if err != nil {
				t.Error("the steady stream:", err)
				return
			}
			if heardBySteady = append(heardBySteady, f.id); strings.Contains(f.data, "the end") {
				return
			}
		}
	})

	r := wanderer{user: n.user("bob"), last: ready.Cursor}
	for i := range rounds {
		missed := said() + i%2*kept // by turns it is away for a moment, and for so long that retention overtakes it
		if !eventually(func() bool { return said() >= missed }) || t.Failed() {
			break
		}
		r.visit(t, "", 1+rand.IntN(30000))
	}
	stop()
	writing.Wait() // else some of it comes after the end
	end := porter.post(t, ops.Channel.ID, "the end").Cursor
	r.visit(t, end, 1<<30)
	work.Wait()
	want := append(slices.SortedFunc(slices.Values(acknowledged), bySeq), end)
	if diff := cmp.Diff(want, heardBySteady); diff != "" {
		t.Errorf("who stays connected (-acknowledged +heard):\n%s", diff)
	}
	want = slices.DeleteFunc(slices.Clone(want), r.toldLost)
	if diff := cmp.Diff(want, r.heard); diff != "" {
		t.Errorf("who comes and goes (-acknowledged, and not told lost +heard):\n%s", diff)
	}
	t.Logf("%d posts, %d resets, %d resumes", said(), len(r.resets), r.resumes)
	if len(r.resets) == 0 || r.resumes == 0 {
		t.Error("the reader was always, or never, overtaken: the test has lost its point")
	}
}

// A wanderer goes from node to node with its last id.
type wanderer struct {
	*user
	last    string
	heard   []string
	resets  [][2]string // what was lost: after the first, up to the second
	resumes int
}

// visit reads at a node of its own until the connection breaks after so many bytes, or until id.
func (w *wanderer) visit(t *testing.T, until string, bytes int) {
	t.Helper()
	other := start(t, setup{database: w.n.database, state: w.n.state})
	defer other.stop()
	s, err := w.at(other).connect(raw, "", "Last-Event-ID", w.last)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	s.in = bufio.NewReader(&cut{s.in, bytes})
	for frames := 0; ; frames++ {
		f, err := s.read()
		if frames == 0 && until == "" { // else a slow machine would never get to see anything
			time.AfterFunc(time.Duration(10+rand.IntN(100))*time.Millisecond, s.cancel)
		}
		if err != nil {
			if until != "" || !errors.Is(err, errCut) && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			return
		}
		switch f.event {
		case "stream.reset":
			if r := data[readyData](t, f, f.event); r.Reason != "expired" || w.n.count(t, `SELECT seq FROM log_floor`) <= int(seq(w.last)) {
				t.Errorf("got a reset for %q at %s, which the log reaches back to", r.Reason, w.last)
			}
			w.resets = append(w.resets, [2]string{w.last, f.id})
		case "stream.ready":
			w.resumes++
		case "stream.closing": // retention was quicker than the pages: the next visit begins with a reset
			return
		case "message.created":
			w.heard = append(w.heard, f.id)
		}
		if f.id != "" {
			w.last = f.id
		}
		if f.id == until {
			return
		}
	}
}

func (w *wanderer) toldLost(cursor string) bool {
	return slices.ContainsFunc(w.resets, func(r [2]string) bool { return seq(cursor) > seq(r[0]) && seq(cursor) <= seq(r[1]) })
}
