package streamtest_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"fabric-guild/handlers/e2e/nodetest"
)

// doing is the data of an activity.
type doing struct {
	ChannelID, UserID, Kind, Text, ReplyTo, Until string
	Cut                                           bool
}

// activity reads the next activity.
func activity(t *testing.T, s *nodetest.Stream) (d doing) {
	t.Helper()
	if err := json.Unmarshal([]byte(s.Signal(t, "activity")), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// said returns the content of the next message, and skips comments and stream.cursor.
func said(t *testing.T, s *nodetest.Stream) (content string) {
	t.Helper()
	for {
		f := s.Next(t)
		if f.Event == "" || f.Event == "stream.cursor" {
			continue
		}
		var m struct{ Content string }
		if err := json.Unmarshal([]byte(f.Data), &m); err != nil || f.Event != "message.created" {
			t.Fatalf("got %v, want a message", f)
		}
		return m.Content
	}
}

// Activity reaches a stream that asked, by every transport, and is in no replay, poll or history. A client
// that resumes misses nothing of the event log.
func TestActivityIsShownAndNotKept(t *testing.T) {
	t.Parallel()
	nodetest.OverTransports(t, func(t *testing.T, n *nodetest.Node, over nodetest.Transport) {
		alice, bob := n.User("alice"), n.User("bob")
		channel := alice.General(t, "ops", "bob").Channel.ID
		first := alice.Post(t, channel, "first").Message.ID
		n.Settle(t)
		asked, ready := bob.Fresh(t, over, "?activity=true")
		silent, _ := bob.Fresh(t, over, "")
		before := n.Stored(t)
		alice.Does(t, channel, nodetest.Body{
			"kind": "draft", "text": "so far\n<@bob> \u0001\u2028",
			"replyTo": first, "ttlSeconds": 60,
		})
		got := activity(t, asked)
		if got.UserID != "alice" || got.ChannelID != channel || got.Kind != "draft" ||
			got.Text != "so far\n<@bob> \u0001\u2028" || got.ReplyTo != first || got.Until == "" || got.Cut {
			t.Errorf("got %+v, want the draft", got)
		}
		alice.Does(t, channel, nodetest.Body{"kind": "idle"})
		if got := activity(t, asked); got.Kind != "idle" {
			t.Errorf("got %+v, want the end of it", got)
		}
		if after := n.Stored(t); after != before {
			t.Errorf("got the rows %v, want %v as before", after, before)
		}
		alice.Post(t, channel, "final")
		for _, s := range []*nodetest.Stream{asked, silent} {
			if got := said(t, s); got != "final" {
				t.Errorf("got %q, want the message, and no activity before it", got)
			}
		}
		asked.Close()
		again := bob.Resume(t, over, "?activity=true", ready.Cursor)
		if got := said(t, again); got != "final" {
			t.Errorf("got %q after the resume, want the message alone", got)
		}
		if p := bob.Poll(t, "after="+ready.Cursor); len(p.Items) != 1 {
			t.Errorf("got %v from a poll, want the message alone", p)
		}
		bob.Refused(t, http.StatusBadRequest, "malformed", "GET", "/api/events?activity=true", nil)
		if got := bob.History(t, channel); !slices.Equal(got, []string{"first", "final"}) {
			t.Errorf("got the history %v", got)
		}
	})
}

// JSON lines show activity too.
func TestActivityInLines(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	alice, bob := n.User("alice"), n.User("bob")
	channel := alice.General(t, "ops", "bob").Channel.ID
	n.Settle(t)
	s := lines(t, bob, nodetest.Raw, "?activity=true")
	for nextLine(t, s).Event != "stream.ready" {
	}
	alice.Does(t, channel, nodetest.Body{"kind": "thinking"})
	f := nextLine(t, s)
	for f.Event == "stream.heartbeat" {
		f = nextLine(t, s)
	}
	if f.Event != "activity" || f.ID != "" || !strings.Contains(f.Data, `"kind":"thinking"`) {
		t.Errorf("got %v, want the activity", f)
	}
}

func TestBadActivity(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	alice := n.User("alice")
	channel := alice.General(t, "ops", "bob").Channel.ID
	path := "/api/channels/" + channel + "/activity"
	for _, tt := range []struct {
		name, body string
		status     int
		code       string
	}{
		{"no kind", `{}`, 400, "malformed"},
		{"an unknown kind", `{"kind":"dancing"}`, 422, "invalid"},
		{"an unknown field", `{"kind":"typing","x":1}`, 400, "malformed"},
		{"text over 4 KiB", `{"kind":"draft","text":"` + strings.Repeat("x", 4097) + `"}`, 422, "invalid"},
		{"emoji over 4 KiB", `{"kind":"draft","text":"` + strings.Repeat("🦀", 1025) + `"}`, 422, "invalid"},
		{"NUL", `{"kind":"draft","text":"a\u0000b"}`, 422, "invalid"},
		{"invalid UTF-8", "{\"kind\":\"draft\",\"text\":\"\xff\"}", 400, "malformed"},
		{"no id", `{"kind":"draft","replyTo":"x"}`, 422, "invalid"},
		{"for no time", `{"kind":"typing","ttlSeconds":0}`, 422, "invalid"},
		{"for over a minute", `{"kind":"typing","ttlSeconds":61}`, 422, "invalid"},
		{"for half a second", `{"kind":"typing","ttlSeconds":0.5}`, 400, "malformed"},
		{
			"64 KiB and a byte", `{"kind":"draft","text":"` + strings.Repeat("x", 64<<10) + `"}`, 413,
			"body_too_large",
		},
	} {
		t.Run(tt.name, func(t *testing.T) { alice.Refused(t, tt.status, tt.code, "POST", path, tt.body) })
	}
	alice.Does(t, channel, nodetest.Body{"kind": "draft", "text": strings.Repeat("🦀", 1024)})
	n.User("bob").Does(t, channel, nodetest.Body{
		"kind": "tool", "text": strings.Repeat("\u0001", 4096),
		"ttlSeconds": 60,
	})
	n.User("bob").Leave(t, channel)
	n.User("bob").Refused(t, http.StatusForbidden, "not_member", "POST", path,
		nodetest.Body{"kind": "typing"})
	n.User("alice", "g2").Refused(t, http.StatusNotFound, "channel_not_found", "POST", path,
		nodetest.Body{"kind": "typing"})
	n.User("zoe").Refused(t, http.StatusForbidden, "not_member", "POST", path,
		nodetest.Body{"kind": "typing"})
	nodetest.Call[json.RawMessage](t, alice, http.StatusOK, "DELETE", "/api/channels/"+channel, nil)
	other := nodetest.Start(t, nodetest.Setup{Database: n.Database, State: n.State})
	alice.At(other).Refused(t, http.StatusConflict, "channel_archived", "POST", path,
		nodetest.Body{"kind": "typing"})
}

// Only current members hear activity, and only with a token for the channel's guild. In triage only those
// hear it who would hear a message.
func TestWhoHearsActivity(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{Admin: "admin"})
	other := nodetest.Start(t, nodetest.Setup{Admin: "admin", Database: n.Database, State: n.State})
	n.Together(t, other)
	alice := n.User("alice")
	channel := alice.General(t, "ops", "bob", "gone").Channel.ID
	triage := alice.Create(t, nodetest.NewChannel{
		GuildID: "g1", Name: "triage", XType: "triage",
		Members: []string{"bob", "duty", "admin"},
	}).Channel.ID
	alice.Wakes(t, triage, "duty")
	nobody := alice.Create(t, nodetest.NewChannel{
		GuildID: "g1", Name: "triage", XType: "triage",
		Members: []string{"bob"},
	}).Channel.ID
	for _, at := range []*nodetest.Node{n, other} {
		at.Settle(t)
		hears := map[string]*nodetest.Stream{}
		for name, u := range map[string]*nodetest.User{
			"bob": n.User("bob"), "duty": n.User("duty"), "admin": n.User("admin"), "gone": n.User("gone"),
			"zoe": n.User("zoe"), "elsewhere": n.User("bob", "g2"),
			"alice": alice,
		} {
			hears[name], _ = u.At(at).Fresh(t, nodetest.Raw, "?activity=true")
		}
		if at == n {
			n.User("gone").Leave(t, channel)
		}
		for _, c := range []string{channel, triage, nobody} {
			alice.Does(t, c, nodetest.Body{"kind": "draft", "text": c})
		}
		want := map[string][]string{"bob": {channel}, "duty": {triage}, "admin": {triage}}
		for name, s := range hears {
			var got []string
			for range want[name] {
				got = append(got, activity(t, s).ChannelID)
			}
			if !slices.Equal(got, want[name]) {
				t.Errorf("%s: got activity of %v, want %v", name, got, want[name])
			}
		}
		end := alice.General(t, "end", "bob", "duty", "admin", "gone", "zoe").Channel.ID
		for name, s := range hears {
			if name == "elsewhere" || name == "alice" {
				continue
			}
			for {
				f := s.Next(t)
				if f.Event == "activity" {
					t.Errorf("%s: got %v, want no more activity", name, f)
				}
				if f.Event == "channel.joined" && strings.Contains(f.Data, end) {
					break
				}
			}
		}
		for _, s := range hears {
			s.Close()
		}
	}
}

// A draft that is too long for a notification is cut for the other servers.
func TestActivityOfAnotherServerIsCutToFit(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	other := nodetest.Start(t, nodetest.Setup{Database: n.Database, State: n.State})
	n.Together(t, other)
	alice, bob := n.User("alice"), n.User("bob")
	channel := alice.General(t, "ops", "bob").Channel.ID
	other.Settle(t)
	n.Settle(t)
	here, _ := bob.Fresh(t, nodetest.Raw, "?activity=true")
	there, _ := bob.At(other).Fresh(t, nodetest.Raw, "?activity=true")
	for _, tt := range []struct {
		text string
		cut  bool
	}{
		{strings.Repeat("🦀", 1024), false},
		{strings.Repeat("<&>", 1365), false},
		{strings.Repeat("\u0001", 4096), true},
	} {
		alice.Does(t, channel, nodetest.Body{"kind": "draft", "text": tt.text})
		if got := activity(t, here); got.Text != tt.text || got.Cut {
			t.Errorf("got %d bytes here, cut: %v, want all %d", len(got.Text), got.Cut, len(tt.text))
		}
		if got := activity(t, there); got.Cut != tt.cut || !strings.HasPrefix(tt.text, got.Text) ||
			len(got.Text) < 900 || !tt.cut && got.Text != tt.text {
			t.Errorf("got %d bytes there, cut: %v, want the beginning of %d", len(got.Text), got.Cut,
				len(tt.text))
		}
	}
}

// A claim, its status and its end show on streams with activity, on every server.
func TestWorkIsShown(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	other := nodetest.Start(t, nodetest.Setup{Database: n.Database, State: n.State})
	n.Together(t, other)
	alice, agent := n.User("alice"), n.User("agent")
	channel := alice.General(t, "ops", "agent", "bob").Channel.ID
	agent.Claim(t, nodetest.Body{})
	n.Settle(t)
	other.Settle(t)
	here, _ := n.User("bob").Fresh(t, nodetest.Raw, "?activity=true")
	there, _ := n.User("bob").At(other).Fresh(t, nodetest.Raw, "?activity=true")
	message := alice.Post(t, channel, "hi <@agent>").Message.ID
	for _, s := range []*nodetest.Stream{here, there} {
		said(t, s)
	}
	w := agent.Wake(t, nodetest.Body{"waitSeconds": 30})
	shown := map[*nodetest.Stream]string{}
	want := func(state, status string) {
		t.Helper()
		for _, s := range []*nodetest.Stream{here, there} {
			var got struct {
				ChannelID, UserID, State, Status string
				MessageIDs                       []string
			}
			data := s.Signal(t, "wake.state")
			for data == shown[s] { // after a slow read, a server shows the state once more
				data = s.Signal(t, "wake.state")
			}
			shown[s] = data
			if err := json.Unmarshal([]byte(data), &got); err != nil {
				t.Fatal(err)
			}
			if got.ChannelID != channel || got.UserID != "agent" || got.State != state ||
				got.Status != status || !slices.Equal(got.MessageIDs, []string{message}) {
				t.Errorf("got %+v, want %s %q of %s", got, state, status, message)
			}
		}
	}
	want("claimed", "")
	nodetest.Call[json.RawMessage](t, agent, http.StatusOK, "POST", "/api/wakes/"+w.ID+"/extend",
		nodetest.Body{"status": "reading", "leaseSeconds": nodetest.LongLease})
	want("claimed", "reading")
	if a, err := agent.Do("POST", "/api/wakes/"+w.ID+"/ack", nodetest.Body{}); err != nil ||
		a.Status != http.StatusNoContent {
		t.Fatalf("got %v, %v", a, err)
	}
	want("done", "")
	for _, end := range []string{"ack", "nack"} { // after a stop, both end the work
		message = alice.Post(t, channel, "again <@agent>").Message.ID
		for _, s := range []*nodetest.Stream{here, there} {
			said(t, s)
		}
		w = agent.Wake(t, nodetest.Body{"waitSeconds": 30})
		want("claimed", "")
		alice.Done(t, "POST", "/api/channels/"+channel+"/stop", nodetest.Body{"userId": "agent"})
		agent.Done(t, "POST", "/api/wakes/"+w.ID+"/"+end, nodetest.Body{})
		want("stopped", "")
	}
}
