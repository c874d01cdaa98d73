package handlers_test

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/db/dbtest"
	"fabric-guild/events/ssetest"
	"fabric-guild/handlers"
	"fabric-guild/handlers/e2e/nodetest"
)

// heavy is the longest text that fits into a body of such characters, each of which JSON escapes to six.
var heavy = strings.Repeat("\x01", 10_800)

// pageBytes is what the contract says of a page of a list, with some room for what is around the items.
const pageBytes = 1<<20 + 1000

// A page of a history ends by bytes too, however much JSON escapes, and the next one goes on.
func TestAPageIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	alice := n.User("alice")
	id := alice.General(t, "ops").Channel.ID
	var want []string
	for i := range 50 { // of 65 KB each in JSON
		text := heavy
		if i%5 == 0 {
			text = "short"
		}
		want = append(want, alice.Post(t, id, text).Message.ID)
	}
	slices.Reverse(want)
	var got []string
	path, pages := "/api/channels/"+id+"/messages?limit=200", 0
	for next := ""; ; pages++ {
		a, err := alice.Do("GET", path+next, nil)
		if err != nil || a.Status != 200 {
			t.Fatalf("got %d and error %v, want a page", a.Status, err)
		}
		if len(a.Body) > pageBytes {
			t.Errorf("got a page of %d bytes, want %d at most", len(a.Body), pageBytes)
		}
		var page nodetest.List[struct{ ID string }]
		if err := json.Unmarshal(a.Body, &page); err != nil {
			t.Fatal(err)
		}
		for _, m := range page.Items {
			got = append(got, m.ID)
		}
		if page.Next == nil {
			break
		}
		next = "&before=" + *page.Next
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("all pages (-want +got):\n%s", diff)
	}
	if pages < 2 {
		t.Errorf("got %d further pages, want two at least", pages)
	}
}

// unread asks for something and takes nothing of the answer but its head. The server is then busy with it.
func unread(t *testing.T, u *nodetest.User, over nodetest.Transport, path string) {
	t.Helper()
	l := nodetest.NewLine(over, 4<<10)
	t.Cleanup(l.HangUp)
	r, err := http.NewRequestWithContext(t.Context(), "GET", u.Node.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+u.Token)
	resp, err := l.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 200 {
		b, _ := io.ReadAll(resp.Body)
		t.Fatalf("%s: got %d %s, want 200", path, resp.StatusCode, b)
	}
}

// Answers that a user does not take keep that user waiting, and nobody else: they hold no connection to
// Postgres.
func TestUnreadAnswersAreFew(t *testing.T) {
	t.Parallel()
	for _, over := range nodetest.Transports[:2] {
		t.Run(over.Name, func(t *testing.T) {
			if over != nodetest.Raw {
				dbtest.Long(t) // over Raw it is fast
			}
			t.Parallel()
			n := nodetest.Start(t, nodetest.Setup{SendBuffer: 8 << 10})
			alice, bob := n.User("alice"), n.User("bob")
			ops := alice.General(t, "ops", "bob")
			for range 8 {
				alice.Post(t, ops.Channel.ID, heavy)
			}
			history := "/api/channels/" + ops.Channel.ID + "/messages"
			for range handlers.ReadsAtOnce {
				unread(t, alice, over, history)
			}
			refused := alice.Refused(t, 429, "too_many_requests", "GET", history, nil)
			if !strings.Contains(refused.Detail, "read their answers") {
				t.Errorf("got detail %q, want what to do", refused.Detail)
			}
			// The server's own work in the background may use one for a moment.
			ssetest.Eventually(t, "no connection to Postgres is in use",
				func() bool { return n.DB.Pools()["requests"].Acquired == 0 })
			if a, err := bob.Do("GET", history, nil); err != nil || a.Status != 200 {
				t.Errorf("another user: got %v and error %v, want 200", a, err)
			}
			alice.Post(t, ops.Channel.ID, "a change is not a read")
			if got := n.Scrape(t).Series[`fabric_guild_refused_total{code="too_many_requests"}`]; got != 1 {
				t.Errorf("got %v refusals in the metrics, want 1", got)
			}
		})
	}
}

// The answers of polls count until they are taken, although the poll itself has ended.
func TestUnreadPollsAreFew(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{SendBuffer: 8 << 10})
	alice, bob := n.User("alice"), n.User("bob")
	ops := alice.General(t, "ops", "bob")
	for range 8 {
		alice.Post(t, ops.Channel.ID, heavy)
	}
	n.Settle(t)
	missed := "/api/events?after=" + ops.Cursor
	for range handlers.PollsAtOnce {
		unread(t, bob, nodetest.Raw, missed)
	}
	bob.Refused(t, 429, "too_many_requests", "GET", missed, nil)
	if a, err := alice.Do("GET", missed, nil); err != nil || a.Status != 200 {
		t.Errorf("another user: got %v and error %v, want 200", a, err)
	}
}

// An answer with many channels goes out in parts. It has those that its user is in and no others, as of the
// cursor.
func TestSyncOfManyChannels(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	alice, bob := n.User("alice"), n.User("bob")
	at := nodetest.Seq(alice.General(t, "first").Cursor)
	const many = 1700
	n.Exec(t, `
		WITH c AS (
			INSERT INTO channels (id, guild_id, name, x_type, private, history, created_by, member_count)
			SELECT gen_random_uuid(), CASE WHEN i % 2 = 0 THEN 'g1' ELSE 'g2' END, repeat('x', 90) || i,
				'general', false, 'joined', 'bob', 1
			FROM generate_series(1, $1) AS i RETURNING id
		)
		INSERT INTO members (channel_id, user_id, joined_seq, position, joined_at)
		SELECT id, 'alice', $2, 0, now() FROM c`, many, at)
	gone := bob.General(t, "gone", "alice").Channel.ID
	alice.Leave(t, gone)
	archived := alice.General(t, "archived").Channel.ID
	nodetest.Call[json.RawMessage](t, alice, 200, "DELETE", "/api/channels/"+archived, nil)

	got := alice.Sync(t)
	var ids, want []string
	for _, c := range got.Channels {
		ids = append(ids, c.ID)
	}
	for _, c := range nodetest.Everything[nodetest.Channel](t, alice, "/api/channels?limit=200", "after") {
		want = append(want, c.ID)
	}
	if diff := cmp.Diff(want, ids); diff != "" {
		t.Errorf("(-listed +synced):\n%s", diff)
	}
	if len(ids) != many+1 || got.UserID != "alice" {
		t.Errorf("got %d channels of %s, want %d of alice", len(ids), got.UserID, many+1)
	}
	half := n.User("alice", "g2").Sync(t)
	if len(half.Channels) != many/2 {
		t.Errorf("got %d channels with a token for g2, want %d", len(half.Channels), many/2)
	}
	for u, whole := range map[*nodetest.User]bool{alice: false, n.User("carol"): true} {
		a, err := u.Do("GET", "/api/sync", nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := a.Header.Get("Content-Length") != ""; got != whole {
			t.Errorf("%s: got a Content-Length: %v, want it where the answer is one part: %v",
				u.ID, got, whole)
		}
	}
}

// Reads have a rate of their own, which leaves changes alone.
func TestReadsAreRateLimited(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	alice := n.User("alice")
	a, err := alice.Do("GET", "/api/me", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := a.Header.Get("RateLimit"); a.Status != 200 || got != "" {
		t.Fatalf("got %v and RateLimit %q, want it with a refusal only", a, got)
	}
	if err := handlers.SpendReads(n.Server, "alice"); err != nil {
		t.Fatal(err)
	}
	if a, err = alice.Do("GET", "/api/me", nil); err != nil {
		t.Fatal(err)
	}
	p := nodetest.WantProblem(t, a, 429, "rate_limited")
	if !strings.Contains(p.Detail, "200 reads per second") {
		t.Errorf("got detail %q, want the bound", p.Detail)
	}
	if got, want := a.Header.Get("RateLimit-Policy"), `"reads";q=2000;w=10`; got != want {
		t.Errorf("got RateLimit-Policy %s, want %s", got, want)
	}
	alice.General(t, "a change")
	nodetest.Call[json.RawMessage](t, n.User("bob"), 200, "GET", "/api/me", nil)
}
