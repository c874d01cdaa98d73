package handlers_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type pollItem struct {
	ID    string          `json:"id"`
	Event string          `json:"event"`
	Data  json.RawMessage `json:"data"`
}

type pollData struct {
	Items  []pollItem `json:"items"`
	Cursor string     `json:"cursor"`
	Reset  *struct {
		Reason string `json:"reason"`
	} `json:"reset"`
}

// shown are the items as names and ids.
func (p pollData) shown() []string {
	got := []string{}
	for _, i := range p.Items {
		got = append(got, i.Event+" "+i.ID)
	}
	return got
}

func (u *user) poll(t *testing.T, query string) pollData {
	t.Helper()
	p, err := u.pollOver(t.Context(), u.n.client.Transport, query)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// polling asks in the background, and returns once the server waits with the answer.
func (u *user) polling(t *testing.T, over http.RoundTripper, query string) <-chan pollData {
	t.Helper()
	before := u.n.router.Streams()
	answer := make(chan pollData, 1)
	go func() {
		p, err := u.pollOver(t.Context(), over, query)
		if err != nil {
			t.Error(err)
		}
		answer <- p
	}()
	if !eventually(func() bool { return u.n.router.Streams() > before }) {
		t.Fatal("the poll does not begin")
	}
	return answer
}

func (u *user) pollOver(ctx context.Context, over http.RoundTripper, query string) (p pollData, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", u.n.url+"/api/events?"+query, nil)
	if err != nil {
		return p, err
	}
	r.Header.Set("Authorization", "Bearer "+u.token)
	resp, err := over.RoundTrip(r)
	if err != nil {
		return p, err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return p, err
	}
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Cache-Control") != "no-store" || !strings.Contains(string(b), `{"items":[`) {
		return p, fmt.Errorf("got %d %s, want 200, items, and no-store", resp.StatusCode, b)
	}
	return p, strictly(b, &p)
}

// overPolls runs a test for each kind of connection that a poll may come over.
func overPolls(t *testing.T, test func(t *testing.T, n *node, over http.RoundTripper)) {
	t.Helper()
	for _, over := range transports[:2] {
		t.Run(over.name, func(t *testing.T) {
			t.Parallel()
			l := newLine(over, 0)
			t.Cleanup(l.hangUp)
			test(t, start(t, setup{}), l)
		})
	}
}

func TestPollsBeginWithASnapshotAndGoOnFromItsCursor(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	alice, bob := n.user("alice"), n.user("bob")
	ops := bob.general(t, "ops", "alice")
	n.settle(t)
	first := alice.poll(t, "limit=1&wait=60") // there is something to say: it does not wait
	if diff := cmp.Diff([]string{"stream.ready " + ops.Cursor}, first.shown()); diff != "" || first.Cursor != ops.Cursor || first.Reset != nil {
		t.Fatalf("got cursor %s, want %s (-want +got):\n%s", first.Cursor, ops.Cursor, diff)
	}
	var ready readyData
	if err := strictly(first.Items[0].Data, &ready); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(readyData{Cursor: ops.Cursor, UserID: "alice", Channels: &[]channel{ops.Channel}}, ready); diff != "" {
		t.Errorf("stream.ready (-want +got):\n%s", diff)
	}
	var want []string
	for i := range 5 {
		want = append(want, "message.created "+bob.post(t, ops.Channel.ID, fmt.Sprint(i)).Cursor)
	}
	mine := alice.post(t, ops.Channel.ID, "mine")
	n.settle(t)
	two := alice.poll(t, "limit=2&after="+first.Cursor)
	if diff := cmp.Diff(want[:2], two.shown()); diff != "" || want[1] != "message.created "+two.Cursor {
		t.Errorf("got cursor %s, want that of the second (-want +got):\n%s", two.Cursor, diff)
	}
	rest := alice.poll(t, "after="+two.Cursor)
	if diff := cmp.Diff(want[2:], rest.shown()); diff != "" || rest.Cursor != mine.Cursor {
		t.Errorf("got cursor %s, want that of what was skipped, %s (-want +got):\n%s", rest.Cursor, mine.Cursor, diff)
	}
	var m heard
	if err := strictly(rest.Items[2].Data, &m); err != nil || m.Content != "4" || !m.Wakeup || m.WakeReason != "everyone" {
		t.Errorf("got %+v and error %v, want message 4, which wakes everyone", m, err)
	}
	if none := alice.poll(t, "after="+rest.Cursor); len(none.Items) != 0 || none.Cursor != rest.Cursor {
		t.Errorf("got %q and %s, want nothing new", none.shown(), none.Cursor)
	}
	echoed := alice.poll(t, "echo=true&after="+two.Cursor)
	if diff := cmp.Diff(append(want[2:], "message.created "+mine.Cursor), echoed.shown()); diff != "" {
		t.Errorf("with echo (-want +got):\n%s", diff)
	}
}

func TestAPollIsAnsweredByWhatItWaitsFor(t *testing.T) {
	t.Parallel()
	overPolls(t, func(t *testing.T, n *node, over http.RoundTripper) {
		alice, bob := n.user("alice"), n.user("bob")
		ops := bob.general(t, "ops")
		answer := alice.polling(t, over, "wait=60&after="+ops.Cursor)
		bob.post(t, ops.Channel.ID, "not for alice")
		joined := bob.add(t, ops.Channel.ID, "alice")
		p := <-answer
		if diff := cmp.Diff([]string{"channel.joined " + joined.Cursor}, p.shown()); diff != "" || p.Cursor != joined.Cursor {
			t.Errorf("got cursor %s, want %s (-want +got):\n%s", p.Cursor, joined.Cursor, diff)
		}
		answer = alice.polling(t, over, "wait=60&wakeup=true&after="+p.Cursor)
		bob.post(t, ops.Channel.ID, "for <@bob>, and <@carol>") // neither of them is another member: it wakes everyone
		if p := <-answer; len(p.Items) != 1 || p.Items[0].Event != "message.created" {
			t.Errorf("got %q, want the message", p.shown())
		}
	})
}

func TestAPollThatWaitsInVainSaysHowFarItHasCome(t *testing.T) {
	t.Parallel()
	overPolls(t, func(t *testing.T, n *node, over http.RoundTripper) {
		alice, bob := n.user("alice"), n.user("bob")
		ops := bob.general(t, "ops", "alice")
		answer := alice.polling(t, over, "wait=1&types=channel.joined&after="+ops.Cursor)
		last := bob.post(t, ops.Channel.ID, "not asked for")
		if p := <-answer; len(p.Items) != 0 || p.Cursor != last.Cursor {
			t.Errorf("got %q and cursor %s, want none and %s", p.shown(), p.Cursor, last.Cursor)
		}
		if got := n.router.Streams(); got != 0 {
			t.Errorf("got %d streams after the answer, want none", got)
		}
	})
}

func TestAPollFromACursorThatCannotBeHonoured(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	alice := n.user("alice")
	old := alice.general(t, "ops")
	last := alice.post(t, old.Channel.ID, "hi")
	epoch, _, _ := strings.Cut(last.Cursor, ".")
	n.exec(t, `UPDATE log_floor SET seq = $1`, seq(last.Cursor))
	alice = alice.at(start(t, setup{database: n.database, state: n.state})) // its ring is empty
	for cursor, reason := range map[string]string{
		"1.1": "unknown_epoch", epoch + ".9223372036854775807": "beyond_end", old.Cursor: "expired",
	} {
		p := alice.poll(t, "wait=60&after="+cursor)
		if p.Reset == nil || p.Reset.Reason != reason || p.Cursor != last.Cursor {
			t.Fatalf("%s: got reset %v and cursor %s, want %s and %s", cursor, p.Reset, p.Cursor, reason, last.Cursor)
		}
		var data readyData
		if err := strictly(p.Items[0].Data, &data); err != nil {
			t.Fatal(err)
		}
		want := readyData{Cursor: last.Cursor, UserID: "alice", Reason: reason, Channels: &[]channel{old.Channel}}
		if diff := cmp.Diff(want, data); diff != "" || p.Items[0].Event != "stream.reset" {
			t.Errorf("%s: got %s, want stream.reset (-want +got):\n%s", cursor, p.Items[0].Event, diff)
		}
		next := alice.post(t, old.Channel.ID, "next")
		if p := alice.poll(t, "wait=60&echo=true&after="+p.Cursor); p.Reset != nil || p.Cursor != next.Cursor {
			t.Errorf("%s: got reset %v and cursor %s afterwards, want none and %s", cursor, p.Reset, p.Cursor, next.Cursor)
		}
		last.Cursor = next.Cursor
		n.exec(t, `UPDATE log_floor SET seq = $1`, seq(last.Cursor))
	}
}

func TestBadPolls(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	alice := n.user("alice")
	for query, field := range map[string]string{
		"wait=61": "wait", "wait=-1": "wait", "wait=1.5": "wait", "wait=1s": "wait", "wait=0x1": "wait", "limit=0": "limit", "limit=201": "limit",
		"types=message": "types", "channels=x": "channels", "echo=1": "echo", "wakeup=yes": "wakeup", "snapshot=true": "snapshot",
		"lastEventId=1.1": "lastEventId", "padding=1": "padding", "wait=1&wait=2": "wait",
	} {
		p := alice.refused(t, 400, "malformed", "GET", "/api/events?"+query, nil)
		if len(p.Errors) != 1 || p.Errors[0].Field != field {
			t.Errorf("%s: got errors %v, want one of the field %s", query, p.Errors, field)
		}
	}
	for _, cursor := range []string{"x", "1", "1.-1", "01.1", "1.1%20"} {
		alice.refused(t, 400, "cursor_malformed", "GET", "/api/events?after="+cursor, nil)
	}
	n.as("nobody", "").refused(t, 401, "token_missing", "GET", "/api/events?wait=60", nil)
	alice.refused(t, 400, "token_in_query", "GET", "/api/events?token="+alice.token, nil)
}

// A poll counts as a stream while it lasts, and not one moment longer.
func TestPollsCountAsStreams(t *testing.T) {
	t.Parallel()
	overPolls(t, func(t *testing.T, n *node, over http.RoundTripper) {
		alice, bob := n.user("alice"), n.user("bob")
		ops := bob.general(t, "ops", "alice")
		for range 15 {
			alice.fresh(t, raw, "")
		}
		at := ops.Cursor
		for i := range 30 {
			answer := alice.polling(t, over, "wait=60&after="+at)
			if i == 0 {
				p := alice.refused(t, 429, "too_many_streams", "GET", "/api/events?after="+at, nil)
				if p.Status != 429 {
					t.Errorf("got %+v", p)
				}
			}
			bob.post(t, ops.Channel.ID, "hi")
			at = (<-answer).Cursor
		}
	})
}

func TestAPollWhoseClientHangsUpLeavesNothing(t *testing.T) {
	t.Parallel()
	overPolls(t, func(t *testing.T, n *node, over http.RoundTripper) {
		alice := n.user("alice")
		ops := alice.general(t, "ops")
		var hanging sync.WaitGroup
		ctx, hangUp := context.WithCancel(t.Context())
		for range 12 {
			hanging.Go(func() {
				if _, err := alice.pollOver(ctx, over, "wait=60&after="+ops.Cursor); !errors.Is(err, context.Canceled) {
					t.Errorf("got error %v, want that of the client that hangs up", err)
				}
			})
		}
		if !eventually(func() bool { return n.router.Streams() == 12 }) {
			t.Errorf("got %d polls, want 12", n.router.Streams())
		}
		hangUp()
		hanging.Wait()
		if !eventually(func() bool { return n.router.Streams() == 0 }) {
			t.Errorf("got %d polls after their clients hung up, want none", n.router.Streams())
		}
	})
}

func TestDrainAnswersPolls(t *testing.T) {
	t.Parallel()
	overPolls(t, func(t *testing.T, n *node, over http.RoundTripper) {
		alice := n.user("alice")
		ops := alice.general(t, "ops")
		var polling sync.WaitGroup
		for range 10 {
			polling.Go(func() {
				p, err := alice.pollOver(t.Context(), over, "wait=60&after="+ops.Cursor)
				switch {
				case err != nil && strings.Contains(err.Error(), "shutting_down"): // it had no position yet
				case err != nil || len(p.Items) != 0 || p.Cursor != ops.Cursor:
					t.Errorf("got %q, %s and error %v, want none and %s", p.shown(), p.Cursor, err, ops.Cursor)
				}
			})
		}
		if !eventually(func() bool { return n.router.Streams() == 10 }) {
			t.Errorf("got %d polls, want 10", n.router.Streams())
		}
		n.stop()
		polling.Wait()
	})
}

// A poll lasts no longer than its token.
func TestAPollWhoseTokenEnds(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	token, err := n.tokens.Sign("alice", nil, 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	alice := n.as("alice", token)
	ops := n.user("bob").general(t, "ops", "alice")
	if p := <-alice.polling(t, n.client.Transport, "wait=60&after="+ops.Cursor); len(p.Items) != 0 {
		t.Errorf("got %q, want nothing", p.shown())
	}
	alice.refused(t, 401, "token_expired", "GET", "/api/events?wait=60&after="+ops.Cursor, nil)
}
