package rulestest_test

import (
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/db/dbtest"
	"fabric-guild/events/ssetest"
	"fabric-guild/handlers/e2e/nodetest"
)

func TestOnlyAChangeOfARowIsAnEvent(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	alice, bob := n.User("alice"), n.User("bob")
	ops := alice.General(t, "ops")
	id := ops.Channel.ID
	events := func() int { t.Helper(); return n.Count(t, `SELECT count(*) FROM events`) }
	before := events()

	joined := bob.Join(t, id)
	if diff := cmp.Diff(nodetest.Changed{Changed: true, Cursor: joined.Cursor}, joined); diff != "" ||
		nodetest.Seq(joined.Cursor) <= nodetest.Seq(ops.Cursor) {
		t.Errorf("got %+v, want a change after %s", joined, ops.Cursor)
	}
	for name, again := range map[string]nodetest.Changed{
		"join again": bob.Join(t, id), "add who is in": alice.Add(t, id, "bob"),
		"add oneself":          alice.Add(t, id, "alice"),
		"remove who is not in": alice.Remove(t, id, "carol"),
	} {
		if again.Changed || nodetest.Seq(again.Cursor) == 0 ||
			nodetest.Seq(again.Cursor) > nodetest.Seq(joined.Cursor) {
			t.Errorf("%s: got %+v, want no change, and a cursor that has been served", name, again)
		}
	}
	left := bob.Leave(t, id)
	if !left.Changed || nodetest.Seq(left.Cursor) <= nodetest.Seq(joined.Cursor) {
		t.Errorf("got %+v, want a change after %s", left, joined.Cursor)
	}
	if again := bob.Leave(t, id); again.Changed || again.Cursor != left.Cursor {
		t.Errorf("left again: got %+v, want no change at %s", again, left.Cursor)
	}
	if never := n.User("carol").Leave(t, id); never.Changed ||
		nodetest.Seq(never.Cursor) > nodetest.Seq(left.Cursor) {
		t.Errorf("left what was never joined: got %+v, want no change", never)
	}
	if got := events() - before; got != 2 {
		t.Errorf("got %d events, want 2: a join and a leave", got)
	}
}

func TestOneOfRacingJoinsIsAChange(t *testing.T) {
	dbtest.Long(t) // TestAChangeThatChangesNothingHasNoEvent is fast
	t.Parallel()
	nodetest.OverTransports(t, func(t *testing.T, n *nodetest.Node, over nodetest.Transport) {
		alice, bob := n.User("alice"), n.User("bob")
		id := alice.General(t, "ops").Channel.ID
		as, _ := alice.Fresh(t, over, "")
		bs, _ := bob.Fresh(t, over, "")
		race := func(action string) (cursor string) {
			answers := make([]nodetest.Changed, 24)
			var racing sync.WaitGroup
			for i := range answers {
				racing.Go(func() {
					var err error
					u, method, path := bob, "POST", "/api/channels/"+id+"/"+action
					if i%3 == 0 { // the creator does the same to bob
						u, method, path = alice, map[string]string{"join": "PUT", "leave": "DELETE"}[action],
							"/api/channels/"+id+"/members/bob"
					}
					if answers[i], err = nodetest.Ask[nodetest.Changed](u, 200, method, path,
						nil); err != nil {
						t.Error(err)
					}
				})
			}
			racing.Wait()
			changes := 0
			for _, a := range answers {
				if a.Changed {
					changes++
					cursor = a.Cursor
				}
			}
			if changes != 1 {
				t.Errorf("%s: got %d answers that say changed, want 1", action, changes)
			}
			return cursor
		}
		joined, left := race("join"), race("leave")
		again := race("join")
		end := alice.Post(t, id, "end")
		if got := nodetest.IDs(bs.Until(t, end.Cursor)); !cmp.Equal(got,
			[]string{joined, left, again, end.Cursor}) {
			t.Errorf("bob: got %q, want %q", got, []string{joined, left, again, end.Cursor})
		}
		n.User("carol").Join(t, id)
		if got := nodetest.Kinds([]ssetest.Frame{as.Next(t), as.Next(t), as.Next(t), as.Next(t)}); !cmp.Equal(
			got, []string{"member.joined", "member.left", "member.joined", "member.joined"},
		) {
			t.Errorf("alice: got %q, want bob's join, leave and join, then carol's", got)
		}
	})
}

// A member hears what was posted from the join to the leave: live, resumed and in the history. A second join
// begins a new interval.
func TestAMemberHearsTheirIntervalsOnly(t *testing.T) {
	t.Parallel()
	nodetest.OverTransports(t, func(t *testing.T, n *nodetest.Node, over nodetest.Transport) {
		alice, bob := n.User("alice"), n.User("bob")
		start := alice.General(t, "start", "bob")
		open := alice.Create(t, nodetest.NewChannel{
			GuildID: "g1", Name: "open", XType: "general",
			History: "all",
		}).Channel.ID
		closed := alice.General(t, "closed").Channel.ID
		live, _ := bob.Fresh(t, over, "")
		say := func(what string) {
			alice.Post(t, open, what)
			alice.Post(t, closed, what)
		}
		say("before")
		bob.Join(t, open)
		bob.Join(t, closed)
		say("in")
		bob.Leave(t, open)
		alice.Remove(t, closed, "bob")
		say("out")
		n.User("carol").Join(t, closed)
		nodetest.Call[nodetest.Created](t, alice, 200, "PATCH", "/api/channels/"+closed,
			nodetest.Body{"name": "renamed"})
		bob.Refused(t, 403, "not_member", "GET", "/api/channels/"+closed+"/messages", nil)
		bob.Join(t, open)
		alice.Add(t, closed, "bob")
		say("in again")
		end := alice.Post(t, start.Channel.ID, "end")

		var first []ssetest.Frame
		for name, s := range map[string]*nodetest.Stream{
			"live": live, "resumed": bob.Resume(t, over, "", start.Cursor),
			"by parameter": bob.Open(t, over, "?lastEventId="+start.Cursor),
		} {
			got := s.Until(t, end.Cursor)
			want := []string{
				"channel.joined", "channel.joined", "message.created", "message.created", "channel.left",
				"channel.left",
				"channel.joined", "channel.joined", "message.created", "message.created", "message.created",
			}
			if diff := cmp.Diff(want, nodetest.Kinds(got)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
			if diff := cmp.Diff([]string{"in", "in", "in again", "in again", "end"},
				nodetest.Contents(t, got)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
			if first == nil {
				first = got
			}
			if diff := cmp.Diff(nodetest.IDs(first), nodetest.IDs(got)); diff != "" {
				t.Errorf("two streams differ (-one +%s):\n%s", name, diff)
			}
		}
		if diff := cmp.Diff([]string{"in", "in again"}, bob.History(t, closed)); diff != "" {
			t.Errorf("history: joined (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"before", "in", "out", "in again"}, bob.History(t, open)); diff != "" {
			t.Errorf("history: all (-want +got):\n%s", diff)
		}
	})
}

// A stream that resumes from the event log, not from memory, shows the same.
func TestIntervalsInAReplayFromTheLog(t *testing.T) {
	dbtest.Long(t) // TestAMemberHearsTheirIntervalsOnly is fast
	t.Parallel()
	first := nodetest.Start(t, nodetest.Setup{})
	alice, bob := first.User("alice"), first.User("bob")
	begin := alice.General(t, "begin", "bob")
	id := alice.General(t, "ops").Channel.ID
	alice.Post(t, id, "before")
	bob.Join(t, id)
	alice.Post(t, id, "in")
	left := bob.Leave(t, id)
	alice.Post(t, id, "out")
	bob.Join(t, id)
	alice.Post(t, id, "in again")
	end := alice.Post(t, begin.Channel.ID, "end")
	later := map[[2]bool]*nodetest.Node{} // nothing is in their rings
	for _, over := range nodetest.Transports {
		if testing.Short() && over != nodetest.Raw {
			continue
		}
		serves := [2]bool{over.R3labs, over.TLS}
		if later[serves] == nil {
			s := nodetest.Setup{Database: first.Database, State: first.State}
			s.R3labs, s.TLS = over.R3labs, over.TLS
			later[serves] = nodetest.Start(t, s)
		}
		got := bob.At(later[serves]).Resume(t, over, "", begin.Cursor).Until(t, end.Cursor)
		if diff := cmp.Diff([]string{"in", "in again", "end"}, nodetest.Contents(t, got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", over.Name, diff)
		}
		got = bob.At(later[serves]).Resume(t, over, "", left.Cursor).Until(t, end.Cursor)
		if diff := cmp.Diff([]string{"channel.joined", "message.created", "message.created"},
			nodetest.Kinds(got)); diff != "" {
			t.Errorf("%s, after the leave (-want +got):\n%s", over.Name, diff)
		}
	}
}

// Every mutation's cursor is the id of its event on the streams that hear it.
func TestAMutationsCursorIsItsEventsID(t *testing.T) {
	t.Parallel()
	nodetest.OverTransports(t, func(t *testing.T, n *nodetest.Node, over nodetest.Transport) {
		alice, bob := n.User("alice"), n.User("bob")
		s, _ := alice.Fresh(t, over, "?echo=true")
		var want []string
		did := func(cursor string) { want = append(want, cursor) }
		c := alice.General(t, "ops")
		did(c.Cursor)
		id := c.Channel.ID
		did(bob.Join(t, id).Cursor)
		did(bob.Post(t, id, "hi").Cursor)
		did(alice.Post(t, id, "ho").Cursor)
		did(bob.Leave(t, id).Cursor)
		did(alice.Add(t, id, "bob").Cursor)
		did(alice.Remove(t, id, "bob").Cursor)
		did(nodetest.Call[nodetest.Created](t, alice, 200, "PATCH", "/api/channels/"+id,
			nodetest.Body{"name": "dev"}).Cursor)
		did(nodetest.Call[nodetest.Created](t, alice, 200, "DELETE", "/api/channels/"+id, nil).Cursor)
		did(bob.Create(t, nodetest.NewChannel{GuildID: "g1", XType: "dm", Members: []string{"alice"}}).Cursor)
		did(alice.Leave(t, id).Cursor)
		if diff := cmp.Diff(want, nodetest.IDs(s.Until(t, want[len(want)-1]))); diff != "" {
			t.Errorf("(-cursors +ids):\n%s", diff)
		}
	})
}
