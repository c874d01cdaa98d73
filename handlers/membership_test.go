package handlers_test

import (
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOnlyAChangeOfARowIsAnEvent(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	alice, bob := n.user("alice"), n.user("bob")
	ops := alice.general(t, "ops")
	id := ops.Channel.ID
	events := func() int { t.Helper(); return n.count(t, `SELECT count(*) FROM events`) }
	before := events()

	joined := bob.join(t, id)
	if diff := cmp.Diff(changed{true, joined.Cursor}, joined); diff != "" || seq(joined.Cursor) <= seq(ops.Cursor) {
		t.Errorf("got %+v, want a change after %s", joined, ops.Cursor)
	}
	for name, again := range map[string]changed{
		"join again": bob.join(t, id), "add who is in": alice.add(t, id, "bob"), "add oneself": alice.add(t, id, "alice"),
		"remove who is not in": alice.remove(t, id, "carol"),
	} {
		if again.Changed || seq(again.Cursor) == 0 || seq(again.Cursor) > seq(joined.Cursor) {
			t.Errorf("%s: got %+v, want no change, and a cursor that has been served", name, again)
		}
	}
	left := bob.leave(t, id)
	if !left.Changed || seq(left.Cursor) <= seq(joined.Cursor) {
		t.Errorf("got %+v, want a change after %s", left, joined.Cursor)
	}
	if again := bob.leave(t, id); again.Changed || again.Cursor != left.Cursor {
		t.Errorf("left again: got %+v, want no change at %s", again, left.Cursor)
	}
	if never := n.user("carol").leave(t, id); never.Changed || seq(never.Cursor) > seq(left.Cursor) {
		t.Errorf("left what was never joined: got %+v, want no change", never)
	}
	if got := events() - before; got != 2 {
		t.Errorf("got %d events, want 2: a join and a leave", got)
	}
}

func TestOneOfRacingJoinsIsAChange(t *testing.T) {
	t.Parallel()
	overTransports(t, func(t *testing.T, n *node, over transport) {
		alice, bob := n.user("alice"), n.user("bob")
		id := alice.general(t, "ops").Channel.ID
		as, _ := alice.fresh(t, over, "")
		bs, _ := bob.fresh(t, over, "")
		race := func(action string) (cursor string) {
			answers := make([]changed, 24)
			var racing sync.WaitGroup
			for i := range answers {
				racing.Go(func() {
					var err error
					u, method, path := bob, "POST", "/api/channels/"+id+"/"+action
					if i%3 == 0 { // the creator does the same to bob
						u, method, path = alice, map[string]string{"join": "PUT", "leave": "DELETE"}[action], "/api/channels/"+id+"/members/bob"
					}
					if answers[i], err = ask[changed](u, 200, method, path, nil); err != nil {
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
		end := alice.post(t, id, "end")
		if got := ids(bs.until(t, end.Cursor)); !cmp.Equal(got, []string{joined, left, again, end.Cursor}) {
			t.Errorf("bob: got %q, want %q", got, []string{joined, left, again, end.Cursor})
		}
		n.user("carol").join(t, id)
		if got := kinds([]frame{as.next(t), as.next(t), as.next(t), as.next(t)}); !cmp.Equal(got, []string{"member.joined", "member.left", "member.joined", "member.joined"}) {
			t.Errorf("alice: got %q, want bob's join, leave and join, then carol's", got)
		}
	})
}

func ids(frames []frame) []string {
	got := []string{}
	for _, f := range frames {
		got = append(got, f.id)
	}
	return got
}

// From a join on, to the leave, and not a message more: live, resumed and in history. A rejoin begins anew.
func TestAMemberHearsTheirIntervalsOnly(t *testing.T) {
	t.Parallel()
	overTransports(t, func(t *testing.T, n *node, over transport) {
		alice, bob := n.user("alice"), n.user("bob")
		start := alice.general(t, "start", "bob")
		open := alice.create(t, newChannel{GuildID: "g1", Name: "open", XType: "general", History: "all"}).Channel.ID
		closed := alice.general(t, "closed").Channel.ID
		live, _ := bob.fresh(t, over, "")
		say := func(what string) {
			alice.post(t, open, what)
			alice.post(t, closed, what)
		}
		say("before")
		bob.join(t, open)
		bob.join(t, closed)
		say("in")
		bob.leave(t, open)
		alice.remove(t, closed, "bob")
		say("out")
		n.user("carol").join(t, closed)
		call[created](t, alice, 200, "PATCH", "/api/channels/"+closed, body{"name": "renamed"})
		bob.refused(t, 403, "not_member", "GET", "/api/channels/"+closed+"/messages", nil)
		bob.join(t, open)
		alice.add(t, closed, "bob")
		say("in again")
		end := alice.post(t, start.Channel.ID, "end")

		var first []frame
		for name, s := range map[string]*stream{
			"live": live, "resumed": bob.resume(t, over, "", start.Cursor), "by parameter": bob.open(t, over, "?lastEventId="+start.Cursor),
		} {
			got := s.until(t, end.Cursor)
			want := []string{
				"channel.joined", "channel.joined", "message.created", "message.created", "channel.left", "channel.left",
				"channel.joined", "channel.joined", "message.created", "message.created", "message.created",
			}
			if diff := cmp.Diff(want, kinds(got)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
			if diff := cmp.Diff([]string{"in", "in", "in again", "in again", "end"}, contents(t, got)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
			if first == nil {
				first = got
			}
			if diff := cmp.Diff(ids(first), ids(got)); diff != "" {
				t.Errorf("two streams differ (-one +%s):\n%s", name, diff)
			}
		}
		if diff := cmp.Diff([]string{"in", "in again"}, bob.history(t, closed)); diff != "" {
			t.Errorf("history: joined (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"before", "in", "out", "in again"}, bob.history(t, open)); diff != "" {
			t.Errorf("history: all (-want +got):\n%s", diff)
		}
	})
}

// A session that resumes from the log, not from memory, is told the same.
func TestIntervalsInAReplayFromTheLog(t *testing.T) {
	t.Parallel()
	first := start(t, setup{})
	alice, bob := first.user("alice"), first.user("bob")
	begin := alice.general(t, "begin", "bob")
	id := alice.general(t, "ops").Channel.ID
	alice.post(t, id, "before")
	bob.join(t, id)
	alice.post(t, id, "in")
	left := bob.leave(t, id)
	alice.post(t, id, "out")
	bob.join(t, id)
	alice.post(t, id, "in again")
	end := alice.post(t, begin.Channel.ID, "end")
	for _, over := range transports {
		later := start(t, setup{database: first.database, state: first.state, r3labs: over.r3labs, tls: over.tls})
		got := bob.at(later).resume(t, over, "", begin.Cursor).until(t, end.Cursor)
		if diff := cmp.Diff([]string{"in", "in again", "end"}, contents(t, got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", over.name, diff)
		}
		got = bob.at(later).resume(t, over, "", left.Cursor).until(t, end.Cursor)
		if diff := cmp.Diff([]string{"channel.joined", "message.created", "message.created"}, kinds(got)); diff != "" {
			t.Errorf("%s, after the leave (-want +got):\n%s", over.name, diff)
		}
	}
}

// Every mutation's cursor is the id of its event on the streams that hear it.
func TestAMutationsCursorIsItsEventsID(t *testing.T) {
	t.Parallel()
	overTransports(t, func(t *testing.T, n *node, over transport) {
		alice, bob := n.user("alice"), n.user("bob")
		s, _ := alice.fresh(t, over, "?echo=true")
		var want []string
		did := func(cursor string) { want = append(want, cursor) }
		c := alice.general(t, "ops")
		did(c.Cursor)
		id := c.Channel.ID
		did(bob.join(t, id).Cursor)
		did(bob.post(t, id, "hi").Cursor)
		did(alice.post(t, id, "ho").Cursor)
		did(bob.leave(t, id).Cursor)
		did(alice.add(t, id, "bob").Cursor)
		did(alice.remove(t, id, "bob").Cursor)
		did(call[created](t, alice, 200, "PATCH", "/api/channels/"+id, body{"name": "dev"}).Cursor)
		did(call[created](t, alice, 200, "DELETE", "/api/channels/"+id, nil).Cursor)
		did(bob.create(t, newChannel{GuildID: "g1", XType: "dm", Members: []string{"alice"}}).Cursor)
		did(alice.leave(t, id).Cursor)
		if diff := cmp.Diff(want, ids(s.until(t, want[len(want)-1]))); diff != "" {
			t.Errorf("(-cursors +ids):\n%s", diff)
		}
	})
}
