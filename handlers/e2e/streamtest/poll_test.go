package streamtest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/db/dbtest"
	"fabric-guild/events/ssetest"
	"fabric-guild/handlers/e2e/nodetest"
)

// overPolls runs a test for each kind of connection that a poll may come over.
func overPolls(t *testing.T, test func(t *testing.T, n *nodetest.Node, over http.RoundTripper)) {
	t.Helper()
	for _, over := range nodetest.Transports[:2] {
		t.Run(over.Name, func(t *testing.T) {
			t.Parallel()
			l := nodetest.NewLine(over, 0)
			t.Cleanup(l.HangUp)
			test(t, nodetest.Start(t, nodetest.Setup{}), l)
		})
	}
}

func TestPollsBeginWithASnapshotAndGoOnFromItsCursor(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	alice, bob := n.User("alice"), n.User("bob")
	ops := bob.General(t, "ops", "alice")
	n.Settle(t)
	first := alice.Poll(t, "limit=1&wait=60") // there is something to say: it does not wait
	if diff := cmp.Diff([]string{"stream.ready " + ops.Cursor}, first.Shown()); diff != "" ||
		first.Cursor != ops.Cursor || first.Reset != nil {
		t.Fatalf("got cursor %s, want %s (-want +got):\n%s", first.Cursor, ops.Cursor, diff)
	}
	var ready nodetest.ReadyData
	if err := nodetest.Strictly(first.Items[0].Data, &ready); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(nodetest.ReadyData{
		Cursor: ops.Cursor, UserID: "alice",
		Channels: &[]nodetest.Channel{ops.Channel},
	}, ready); diff != "" {
		t.Errorf("stream.ready (-want +got):\n%s", diff)
	}
	var want []string
	for i := range 5 {
		want = append(want, "message.created "+bob.Post(t, ops.Channel.ID, fmt.Sprint(i)).Cursor)
	}
	mine := alice.Post(t, ops.Channel.ID, "mine")
	n.Settle(t)
	two := alice.Poll(t, "limit=2&after="+first.Cursor)
	if diff := cmp.Diff(want[:2], two.Shown()); diff != "" || want[1] != "message.created "+two.Cursor {
		t.Errorf("got cursor %s, want that of the second (-want +got):\n%s", two.Cursor, diff)
	}
	rest := alice.Poll(t, "after="+two.Cursor)
	if diff := cmp.Diff(want[2:], rest.Shown()); diff != "" || rest.Cursor != mine.Cursor {
		t.Errorf("got cursor %s, want that of what was skipped, %s (-want +got):\n%s", rest.Cursor,
			mine.Cursor, diff)
	}
	var m nodetest.Heard
	if err := nodetest.Strictly(rest.Items[2].Data, &m); err != nil || m.Content != "4" || !m.Wakeup ||
		m.WakeReason != "everyone" {
		t.Errorf("got %+v and error %v, want message 4, which wakes everyone", m, err)
	}
	if none := alice.Poll(t, "after="+rest.Cursor); len(none.Items) != 0 || none.Cursor != rest.Cursor {
		t.Errorf("got %q and %s, want nothing new", none.Shown(), none.Cursor)
	}
	echoed := alice.Poll(t, "echo=true&after="+two.Cursor)
	if diff := cmp.Diff(append(want[2:], "message.created "+mine.Cursor), echoed.Shown()); diff != "" {
		t.Errorf("with echo (-want +got):\n%s", diff)
	}
}

func TestAPollIsAnsweredByWhatItWaitsFor(t *testing.T) {
	t.Parallel()
	overPolls(t, func(t *testing.T, n *nodetest.Node, over http.RoundTripper) {
		alice, bob := n.User("alice"), n.User("bob")
		ops := bob.General(t, "ops")
		answer := alice.Polling(t, over, "wait=60&after="+ops.Cursor)
		bob.Post(t, ops.Channel.ID, "not for alice")
		joined := bob.Add(t, ops.Channel.ID, "alice")
		p := <-answer
		if diff := cmp.Diff([]string{"channel.joined " + joined.Cursor}, p.Shown()); diff != "" ||
			p.Cursor != joined.Cursor {
			t.Errorf("got cursor %s, want %s (-want +got):\n%s", p.Cursor, joined.Cursor, diff)
		}
		answer = alice.Polling(t, over, "wait=60&wakeup=true&after="+p.Cursor)
		// neither of them is another member: it wakes everyone
		bob.Post(t, ops.Channel.ID, "for <@bob>, and <@carol>")
		if p := <-answer; len(p.Items) != 1 || p.Items[0].Event != "message.created" {
			t.Errorf("got %q, want the message", p.Shown())
		}
	})
}

func TestAPollThatWaitsInVainSaysHowFarItHasCome(t *testing.T) {
	t.Parallel()
	overPolls(t, func(t *testing.T, n *nodetest.Node, over http.RoundTripper) {
		alice, bob := n.User("alice"), n.User("bob")
		ops := bob.General(t, "ops", "alice")
		answer := alice.Polling(t, over, "wait=1&types=channel.joined&after="+ops.Cursor)
		last := bob.Post(t, ops.Channel.ID, "not asked for")
		if p := <-answer; len(p.Items) != 0 || p.Cursor != last.Cursor {
			t.Errorf("got %q and cursor %s, want none and %s", p.Shown(), p.Cursor, last.Cursor)
		}
		if got := n.Router.Streams(); got != 0 {
			t.Errorf("got %d streams after the answer, want none", got)
		}
	})
}

func TestAPollFromACursorThatCannotBeHonoured(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	alice := n.User("alice")
	old := alice.General(t, "ops")
	last := alice.Post(t, old.Channel.ID, "hi")
	epoch, _, _ := strings.Cut(last.Cursor, ".")
	n.Exec(t, `UPDATE log_floor SET seq = $1`, nodetest.Seq(last.Cursor))
	// its ring is empty
	alice = alice.At(nodetest.Start(t, nodetest.Setup{Database: n.Database, State: n.State}))
	for cursor, reason := range map[string]string{
		"1.1": "unknown_epoch", epoch + ".9223372036854775807": "beyond_end", old.Cursor: "expired",
	} {
		p := alice.Poll(t, "wait=60&after="+cursor)
		if p.Reset == nil || p.Reset.Reason != reason || p.Cursor != last.Cursor {
			t.Fatalf("%s: got reset %v and cursor %s, want %s and %s", cursor, p.Reset, p.Cursor,
				reason, last.Cursor)
		}
		var data nodetest.ReadyData
		if err := nodetest.Strictly(p.Items[0].Data, &data); err != nil {
			t.Fatal(err)
		}
		want := nodetest.ReadyData{
			Cursor: last.Cursor, UserID: "alice", Reason: reason,
			Channels: &[]nodetest.Channel{old.Channel},
		}
		if diff := cmp.Diff(want, data); diff != "" || p.Items[0].Event != "stream.reset" {
			t.Errorf("%s: got %s, want stream.reset (-want +got):\n%s", cursor, p.Items[0].Event, diff)
		}
		next := alice.Post(t, old.Channel.ID, "next")
		if p := alice.Poll(t, "wait=60&echo=true&after="+p.Cursor); p.Reset != nil ||
			p.Cursor != next.Cursor {
			t.Errorf("%s: got reset %v and cursor %s afterwards, want none and %s", cursor, p.Reset, p.Cursor,
				next.Cursor)
		}
		last.Cursor = next.Cursor
		n.Exec(t, `UPDATE log_floor SET seq = $1`, nodetest.Seq(last.Cursor))
	}
}

func TestBadPolls(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	alice := n.User("alice")
	for query, field := range map[string]string{
		"wait=61": "wait", "wait=-1": "wait", "wait=1.5": "wait", "wait=1s": "wait", "wait=0x1": "wait",
		"limit=0": "limit", "limit=201": "limit",
		"types=message": "types", "channels=x": "channels", "echo=1": "echo", "wakeup=yes": "wakeup",
		"snapshot=true":   "snapshot",
		"lastEventId=1.1": "lastEventId", "padding=1": "padding", "wait=1&wait=2": "wait",
	} {
		p := alice.Refused(t, 400, "malformed", "GET", "/api/events?"+query, nil)
		if len(p.Errors) != 1 || p.Errors[0].Field != field {
			t.Errorf("%s: got errors %v, want one of the field %s", query, p.Errors, field)
		}
	}
	for _, cursor := range []string{"x", "1", "1.-1", "01.1", "1.1%20"} {
		alice.Refused(t, 400, "cursor_malformed", "GET", "/api/events?after="+cursor, nil)
	}
	n.As("nobody", "").Refused(t, 401, "token_missing", "GET", "/api/events?wait=60", nil)
	alice.Refused(t, 400, "token_in_query", "GET", "/api/events?token="+alice.Token, nil)
}

// A poll counts as a stream while it lasts, and not one moment longer.
func TestPollsCountAsStreams(t *testing.T) {
	dbtest.Long(t) // TestPollsTakePlaces is fast
	t.Parallel()
	overPolls(t, func(t *testing.T, n *nodetest.Node, over http.RoundTripper) {
		alice, bob := n.User("alice"), n.User("bob")
		ops := bob.General(t, "ops", "alice")
		for range 15 {
			alice.Fresh(t, nodetest.Raw, "")
		}
		at := ops.Cursor
		for i := range 30 {
			answer := alice.Polling(t, over, "wait=60&after="+at)
			if i == 0 {
				p := alice.Refused(t, 429, "too_many_streams", "GET", "/api/events?after="+at, nil)
				if p.Status != 429 {
					t.Errorf("got %+v", p)
				}
			}
			bob.Post(t, ops.Channel.ID, "hi")
			at = (<-answer).Cursor
		}
	})
}

func TestAPollWhoseClientHangsUpLeavesNothing(t *testing.T) {
	t.Parallel()
	overPolls(t, func(t *testing.T, n *nodetest.Node, over http.RoundTripper) {
		alice := n.User("alice")
		ops := alice.General(t, "ops")
		var hanging sync.WaitGroup
		ctx, hangUp := context.WithCancel(t.Context())
		for range 12 {
			hanging.Go(func() {
				if _, err := alice.PollOver(ctx, over, "wait=60&after="+ops.Cursor); !errors.Is(err,
					context.Canceled) {
					t.Errorf("got error %v, want that of the client that hangs up", err)
				}
			})
		}
		if !ssetest.Await(func() bool { return n.Router.Streams() == 12 }) {
			t.Errorf("got %d polls, want 12", n.Router.Streams())
		}
		hangUp()
		hanging.Wait()
		if !ssetest.Await(func() bool { return n.Router.Streams() == 0 }) {
			t.Errorf("got %d polls after their clients hung up, want none", n.Router.Streams())
		}
	})
}

func TestDrainAnswersPolls(t *testing.T) {
	t.Parallel()
	overPolls(t, func(t *testing.T, n *nodetest.Node, over http.RoundTripper) {
		alice := n.User("alice")
		ops := alice.General(t, "ops")
		var polling sync.WaitGroup
		for range 10 {
			polling.Go(func() {
				p, err := alice.PollOver(t.Context(), over, "wait=60&after="+ops.Cursor)
				switch {
				case err != nil && strings.Contains(err.Error(), "shutting_down"): // it had no position yet
				case err != nil || len(p.Items) != 0 || p.Cursor != ops.Cursor:
					t.Errorf("got %q, %s and error %v, want none and %s", p.Shown(), p.Cursor,
						err, ops.Cursor)
				}
			})
		}
		if !ssetest.Await(func() bool { return n.Router.Streams() == 10 }) {
			t.Errorf("got %d polls, want 10", n.Router.Streams())
		}
		n.Stop()
		polling.Wait()
	})
}

// A poll lasts no longer than its token.
func TestAPollWhoseTokenEnds(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ops := n.User("bob").General(t, "ops", "alice")
	n.Settle(t)
	var alice *nodetest.User
	nodetest.Brief(t, func(life time.Duration) bool {
		token, err := n.Tokens.Sign("alice", nil, life)
		if err != nil {
			t.Fatal(err)
		}
		alice = n.As("alice", token)
		p, err := alice.PollOver(t.Context(), n.Client.Transport, "wait=60&after="+ops.Cursor)
		if err == nil && len(p.Items) != 0 {
			t.Errorf("got %q, want nothing", p.Shown())
		}
		return err == nil
	})
	alice.Refused(t, 401, "token_expired", "GET", "/api/events?wait=60&after="+ops.Cursor, nil)
}
