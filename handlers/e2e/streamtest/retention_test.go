package streamtest_test

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

	"github.com/google/go-cmp/cmp"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"
	"fabric-guild/events/ssetest"
	"fabric-guild/handlers/e2e/nodetest"
)

// retain leaves the newest events of the log.
func retain(t *testing.T, n *nodetest.Node, events int64) {
	t.Helper()
	if removed, _, err := n.DB.Retain(t.Context(), db.Retention{Events: events}); err != nil || removed == 0 {
		t.Fatalf("got %d events removed, %v; want some", removed, err)
	}
}

// What was said stays, with all that is decided by it, when the events that told of it are gone.
func TestMessagesOutliveTheirEvents(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{Admin: "adm"})
	ann, pam, adm := n.User("ann"), n.User("pam"), n.User("adm")
	fence := n.Fence(t, "ann", "pam", "duty", "adm", "back")
	id := ann.Makes(t, "triage", []string{"pam", "duty", "back"}, []string{"duty"}).Channel.ID
	first := ann.Says(t, id, "look <@pam>").Message.ID
	n.User("back").Leave(t, id)
	ann.Wakes(t, id) // another list
	second := pam.Says(t, id, "I do").Message.ID
	n.User("back").Join(t, id)
	type all struct {
		History, OfBack []string
		First, Second   map[string]string
		Sync            []nodetest.Channel
		Room            nodetest.Roomy
	}
	look := func() all {
		t.Helper()
		return all{
			pam.History(t, id), n.User("back").History(t, id), ann.Deliveries(t, first),
			ann.Deliveries(t, second),
			pam.Sync(t).Channels, nodetest.Call[nodetest.Roomy](t, pam, 200, "GET", "/api/channels/"+id, nil),
		}
	}
	before := look()
	from := fence()
	retain(t, n, 1)
	if left := n.Count(t, `SELECT count(*) FROM events`); left != 1 {
		t.Fatalf("got %d events left, want the last", left)
	}
	if diff := cmp.Diff(before, look()); diff != "" {
		t.Errorf("what is left (-before +after):\n%s", diff)
	}

	edited := ann.Edits(t, first, "look here")
	deleted := pam.Deletes(t, second)
	last := fence()
	for _, r := range n.Replays(t) {
		for _, hearer := range []*nodetest.User{pam, n.User("duty"), adm} {
			got := nodetest.InChannel(
				hearer.At(r.N).Resume(t, nodetest.Raw, "?echo=true", from).Until(t, last), id,
			)
			want := []string{edited.Cursor}
			if hearer == pam {
				want = append(want, deleted.Cursor) // to others it was nothing: nobody is on duty any more
			}
			if hearer == adm {
				want = append(want, deleted.Cursor)
			}
			if diff := cmp.Diff(want, nodetest.IDs(got)); diff != "" {
				t.Errorf("%s from the %s (-want +got):\n%s", hearer.ID, r.Name, diff)
			} else if m := nodetest.Data[nodetest.FullHeard](t, got[0],
				"message.updated"); m.Content != "look here" || m.ID != first {
				t.Errorf("%s from the %s: got %+v, want the message as it now is", hearer.ID, r.Name, m)
			}
		}
	}
}

// Retention runs all the time, close to the end of the log, while a reader's connection breaks at random, and
// each time it comes back to a node that has nothing in memory. It hears everything, in order, or is told by
// a reset what it has not; who stays connected hears everything.
func TestRetentionLosesNothingOnStreams(t *testing.T) {
	dbtest.Long(t)
	t.Parallel()
	const kept, rounds = 300, 10
	n := nodetest.Start(t, nodetest.Setup{})
	porter := n.User("porter")
	ops := porter.General(t, "ops", "bob", "carol", "poster")
	steady, ready := n.User("carol").Fresh(t, nodetest.Raw, "")

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
				p, err := nodetest.Ask[nodetest.Posted](n.User("poster"), 201, "POST",
					"/api/channels/"+ops.Channel.ID+"/messages", nodetest.Body{"content": "hi"})
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
		tick := time.NewTicker(pace)
		defer tick.Stop()
		for ; working.Err() == nil; <-tick.C {
			if _, _, err := n.DB.Retain(t.Context(), db.Retention{Events: kept}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	var heardBySteady []string
	work.Go(func() {
		for { // to the post below, after which nothing comes
			f, err := steady.Read()
			if err != nil {
				t.Error("the steady stream:", err)
				return
			}
			if heardBySteady = append(heardBySteady, f.ID); strings.Contains(f.Data, "the end") {
				return
			}
		}
	})

	r := wanderer{User: n.User("bob"), last: ready.Cursor}
	for i := range rounds {
		// it is away for a moment, and the next time for so long that retention overtakes it
		missed := said() + i%2*kept
		if !ssetest.Await(func() bool { return said() >= missed }) || t.Failed() {
			break
		}
		r.visit(t, "", 1+rand.IntN(30000))
	}
	stop()
	writing.Wait() // else some of it comes after the end
	end := porter.Post(t, ops.Channel.ID, "the end").Cursor
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
	*nodetest.User
	last    string
	heard   []string
	resets  [][2]string // what was lost: after the first, up to the second
	resumes int
}

// visit reads at a node of its own until the connection breaks after so many bytes, or until id.
func (w *wanderer) visit(t *testing.T, until string, bytes int) {
	t.Helper()
	other := nodetest.Start(t, nodetest.Setup{Database: w.Node.Database, State: w.Node.State})
	defer other.Stop()
	s, err := w.At(other).Connect(nodetest.Raw, "", "Last-Event-ID", w.last)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.In = bufio.NewReader(&cut{s.In, bytes})
	for frames := 0; ; frames++ {
		f, err := s.Read()
		if frames == 0 && until == "" { // else a slow machine would never get to see anything
			time.AfterFunc(time.Duration(10+rand.IntN(100))*time.Millisecond, s.Cancel)
		}
		if err != nil {
			if until != "" || !errors.Is(err, errCut) && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			return
		}
		switch f.Event {
		case "stream.reset":
			if r := nodetest.Data[nodetest.ReadyData](t, f, f.Event); r.Reason != "expired" ||
				w.Node.Count(t, `SELECT seq FROM log_floor`) <= int(nodetest.Seq(w.last)) {
				t.Errorf("got a reset for %q at %s, which the log reaches back to", r.Reason, w.last)
			}
			w.resets = append(w.resets, [2]string{w.last, f.ID})
		case "stream.ready":
			w.resumes++
		case "stream.closing": // retention was quicker than the pages: the next visit begins with a reset
			return
		case "message.created":
			w.heard = append(w.heard, f.ID)
		}
		if f.ID != "" {
			w.last = f.ID
		}
		if f.ID == until {
			return
		}
	}
}

func (w *wanderer) toldLost(cursor string) bool {
	return slices.ContainsFunc(w.resets, func(r [2]string) bool {
		return nodetest.Seq(cursor) > nodetest.Seq(r[0]) && nodetest.Seq(cursor) <= nodetest.Seq(r[1])
	})
}
