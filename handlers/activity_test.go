package handlers_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// doing is the data of an activity.
type doing struct {
	ChannelID, UserID, Kind, Text, ReplyTo, Until string
	Cut                                           bool
}

// does sends an activity.
func (u *user) does(t testing.TB, channel string, b body) {
	t.Helper()
	call[struct{ Until string }](t, u, http.StatusAccepted, "POST", "/api/channels/"+channel+"/activity", b)
}

// signal reads the next frame that is no sign of life. It must be a signal, without an id.
func (s *stream) signal(t *testing.T, event string) (data string) {
	t.Helper()
	for {
		f := s.next(t)
		if f.event == "" || f.event == "stream.cursor" || f.event == "member.left" {
			continue
		}
		if f.event != event || f.id != "" {
			t.Fatalf("got %v, want %s without an id", f, event)
		}
		return f.data
	}
}

// activity reads the next activity.
func (s *stream) activity(t *testing.T) (d doing) {
	t.Helper()
	if err := json.Unmarshal([]byte(s.signal(t, "activity")), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// said reads the next frame that is no sign of life. It must be a message.
func (s *stream) said(t *testing.T) (content string) {
	t.Helper()
	for {
		f := s.next(t)
		if f.event == "" || f.event == "stream.cursor" {
			continue
		}
		var m struct{ Content string }
		if err := json.Unmarshal([]byte(f.data), &m); err != nil || f.event != "message.created" {
			t.Fatalf("got %v, want a message", f)
		}
		return m.Content
	}
}

// Activity reaches a stream that asked, by every transport, and is in no replay, poll or history. A client that
// resumes misses nothing of the event log.
func TestActivityIsShownAndNotKept(t *testing.T) {
	t.Parallel()
	overTransports(t, func(t *testing.T, n *node, over transport) {
		alice, bob := n.user("alice"), n.user("bob")
		channel := alice.general(t, "ops", "bob").Channel.ID
		first := alice.post(t, channel, "first").Message.ID
		n.settle(t)
		asked, ready := bob.fresh(t, over, "?activity=true")
		silent, _ := bob.fresh(t, over, "")
		before := n.stored(t)
		alice.does(t, channel, body{"kind": "draft", "text": "so far\n<@bob> \u0001\u2028", "replyTo": first, "ttlSeconds": 60})
		got := asked.activity(t)
		if got.UserID != "alice" || got.ChannelID != channel || got.Kind != "draft" || got.Text != "so far\n<@bob> \u0001\u2028" || got.ReplyTo != first || got.Until == "" || got.Cut {
			t.Errorf("got %+v, want the draft", got)
		}
		alice.does(t, channel, body{"kind": "idle"})
		if got := asked.activity(t); got.Kind != "idle" {
			t.Errorf("got %+v, want the end of it", got)
		}
		if after := n.stored(t); after != before {
			t.Errorf("got the rows %v, want %v as before", after, before)
		}
		alice.post(t, channel, "final")
		for _, s := range []*stream{asked, silent} {
			if got := s.said(t); got != "final" {
				t.Errorf("got %q, want the message, and no activity before it", got)
			}
		}
		asked.close()
		again := bob.resume(t, over, "?activity=true", ready.Cursor)
		if got := again.said(t); got != "final" {
			t.Errorf("got %q after the resume, want the message alone", got)
		}
		if p := bob.poll(t, "after="+ready.Cursor); len(p.Items) != 1 {
			t.Errorf("got %v from a poll, want the message alone", p)
		}
		bob.refused(t, http.StatusBadRequest, "malformed", "GET", "/api/events?activity=true", nil)
		if got := bob.history(t, channel); !slices.Equal(got, []string{"first", "final"}) {
			t.Errorf("got the history %v", got)
		}
	})
}

// JSON lines show activity too.
func TestActivityInLines(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	alice, bob := n.user("alice"), n.user("bob")
	channel := alice.general(t, "ops", "bob").Channel.ID
	n.settle(t)
	s := bob.lines(t, raw, "?activity=true")
	for s.nextLine(t).event != "stream.ready" {
	}
	alice.does(t, channel, body{"kind": "thinking"})
	f := s.nextLine(t)
	for f.event == "stream.heartbeat" {
		f = s.nextLine(t)
	}
	if f.event != "activity" || f.id != "" || !strings.Contains(f.data, `"kind":"thinking"`) {
		t.Errorf("got %v, want the activity", f)
	}
}

func TestBadActivity(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	alice := n.user("alice")
	channel := alice.general(t, "ops", "bob").Channel.ID
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
		{"64 KiB and a byte", `{"kind":"draft","text":"` + strings.Repeat("x", 64<<10) + `"}`, 413, "body_too_large"},
	} {
		t.Run(tt.name, func(t *testing.T) { alice.refused(t, tt.status, tt.code, "POST", path, tt.body) })
	}
	alice.does(t, channel, body{"kind": "draft", "text": strings.Repeat("🦀", 1024)})
	n.user("bob").does(t, channel, body{"kind": "tool", "text": strings.Repeat("\u0001", 4096), "ttlSeconds": 60})
	n.user("bob").leave(t, channel)
	n.user("bob").refused(t, http.StatusForbidden, "not_member", "POST", path, body{"kind": "typing"})
	n.user("alice", "g2").refused(t, http.StatusNotFound, "channel_not_found", "POST", path, body{"kind": "typing"})
	n.user("zoe").refused(t, http.StatusForbidden, "not_member", "POST", path, body{"kind": "typing"})
	call[json.RawMessage](t, alice, http.StatusOK, "DELETE", "/api/channels/"+channel, nil)
	other := start(t, setup{database: n.database, state: n.state})
	alice.at(other).refused(t, http.StatusConflict, "channel_archived", "POST", path, body{"kind": "typing"})
}

// Only current members hear activity, and only with a token for the channel's guild. In triage only those hear
// it who would hear a message.
func TestWhoHearsActivity(t *testing.T) {
	t.Parallel()
	n := start(t, setup{admin: "admin"})
	other := start(t, setup{admin: "admin", database: n.database, state: n.state})
	n.together(t, other)
	alice := n.user("alice")
	channel := alice.general(t, "ops", "bob", "gone").Channel.ID
	triage := alice.create(t, newChannel{GuildID: "g1", Name: "triage", XType: "triage", Members: []string{"bob", "duty", "admin"}}).Channel.ID
	alice.wakes(t, triage, "duty")
	nobody := alice.create(t, newChannel{GuildID: "g1", Name: "triage", XType: "triage", Members: []string{"bob"}}).Channel.ID
	for _, at := range []*node{n, other} {
		at.settle(t)
		hears := map[string]*stream{}
		for name, u := range map[string]*user{
			"bob": n.user("bob"), "duty": n.user("duty"), "admin": n.user("admin"), "gone": n.user("gone"), "zoe": n.user("zoe"), "elsewhere": n.user("bob", "g2"),
			"alice": alice,
		} {
			hears[name], _ = u.at(at).fresh(t, raw, "?activity=true")
		}
		if at == n {
			n.user("gone").leave(t, channel)
		}
		for _, c := range []string{channel, triage, nobody} {
			alice.does(t, c, body{"kind": "draft", "text": c})
		}
		want := map[string][]string{"bob": {channel}, "duty": {triage}, "admin": {triage}}
		for name, s := range hears {
			var got []string
			for range want[name] {
				got = append(got, s.activity(t).ChannelID)
			}
			if !slices.Equal(got, want[name]) {
				t.Errorf("%s: got activity of %v, want %v", name, got, want[name])
			}
		}
		end := alice.general(t, "end", "bob", "duty", "admin", "gone", "zoe").Channel.ID
		for name, s := range hears {
			if name == "elsewhere" || name == "alice" {
				continue
			}
			for {
				f := s.next(t)
				if f.event == "activity" {
					t.Errorf("%s: got %v, want no more activity", name, f)
				}
				if f.event == "channel.joined" && strings.Contains(f.data, end) {
					break
				}
			}
		}
		for _, s := range hears {
			s.close()
		}
	}
}

// together waits until the nodes know of each other.
func (n *node) together(t *testing.T, others ...*node) {
	t.Helper()
	for _, o := range append(others, n) {
		if !eventually(o.db.HasOthers) || !eventually(o.db.Hears) {
			t.Fatal("the servers do not hear each other")
		}
	}
}

// A draft that is too long for a notification is cut for the other servers.
func TestActivityOfAnotherServerIsCutToFit(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	other := start(t, setup{database: n.database, state: n.state})
	n.together(t, other)
	alice, bob := n.user("alice"), n.user("bob")
	channel := alice.general(t, "ops", "bob").Channel.ID
	other.settle(t)
	n.settle(t)
	here, _ := bob.fresh(t, raw, "?activity=true")
	there, _ := bob.at(other).fresh(t, raw, "?activity=true")
	for _, tt := range []struct {
		text string
		cut  bool
	}{
		{strings.Repeat("🦀", 1024), false},
		{strings.Repeat("<&>", 1365), false},
		{strings.Repeat("\u0001", 4096), true},
	} {
		alice.does(t, channel, body{"kind": "draft", "text": tt.text})
		if got := here.activity(t); got.Text != tt.text || got.Cut {
			t.Errorf("got %d bytes here, cut: %v, want all %d", len(got.Text), got.Cut, len(tt.text))
		}
		if got := there.activity(t); got.Cut != tt.cut || !strings.HasPrefix(tt.text, got.Text) || len(got.Text) < 1000 || !tt.cut && got.Text != tt.text {
			t.Errorf("got %d bytes there, cut: %v, want the beginning of %d", len(got.Text), got.Cut, len(tt.text))
		}
	}
}

// A flood of activity has its own limit, which leaves the limit of changes alone, and it slows no message.
func TestAFloodOfActivity(t *testing.T) {
	t.Parallel()
	s := setup{}
	s.edge.RateLimit = 100
	n := start(t, s)
	alice, bob := n.user("alice"), n.user("bob")
	channel := alice.general(t, "ops", "bob").Channel.ID
	n.settle(t)
	listening, _ := bob.fresh(t, raw, "?activity=true")
	refused := 0
	for i := 0; refused == 0; i++ {
		if i > 100_000 {
			t.Fatal("got no refusal")
		}
		a, err := alice.do("POST", "/api/channels/"+channel+"/activity", body{"kind": "draft", "text": fmt.Sprint(i)})
		if err != nil {
			t.Fatal(err)
		}
		switch a.status {
		case http.StatusAccepted:
		case http.StatusTooManyRequests:
			refused++
			if i < 500 || a.header.Get("Retry-After") == "" {
				t.Errorf("got %v after %d, want the burst first", a, i)
			}
		default:
			t.Fatalf("got %v", a)
		}
	}
	a, err := alice.do("POST", "/api/channels/"+channel+"/messages", body{"content": "final"})
	if err != nil || a.status != http.StatusCreated || !strings.Contains(a.header.Get("Ratelimit"), `;r=99`) {
		t.Errorf("got %v with %v, want all changes left", a, a.header)
	}
	for {
		if f := listening.next(t); f.event == "message.created" {
			break
		}
	}
}

// A claim, its status and its end show on streams with activity, on every server.
func TestWorkIsShown(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	other := start(t, setup{database: n.database, state: n.state})
	n.together(t, other)
	alice, agent := n.user("alice"), n.user("agent")
	channel := alice.general(t, "ops", "agent", "bob").Channel.ID
	agent.claim(t, body{})
	n.settle(t)
	other.settle(t)
	here, _ := n.user("bob").fresh(t, raw, "?activity=true")
	there, _ := n.user("bob").at(other).fresh(t, raw, "?activity=true")
	message := alice.post(t, channel, "hi <@agent>").Message.ID
	for _, s := range []*stream{here, there} {
		s.said(t)
	}
	w := agent.wake(t, body{"waitSeconds": 30})
	want := func(state, status string) {
		t.Helper()
		for _, s := range []*stream{here, there} {
			var got struct {
				ChannelID, UserID, State, Status string
				MessageIDs                       []string
			}
			if err := json.Unmarshal([]byte(s.signal(t, "wake.state")), &got); err != nil {
				t.Fatal(err)
			}
			if got.ChannelID != channel || got.UserID != "agent" || got.State != state || got.Status != status || !slices.Equal(got.MessageIDs, []string{message}) {
				t.Errorf("got %+v, want %s %q of %s", got, state, status, message)
			}
		}
	}
	want("claimed", "")
	call[json.RawMessage](t, agent, http.StatusOK, "POST", "/api/wakes/"+w.ID+"/extend", body{"status": "reading"})
	want("claimed", "reading")
	if a, err := agent.do("POST", "/api/wakes/"+w.ID+"/ack", body{}); err != nil || a.status != http.StatusNoContent {
		t.Fatalf("got %v, %v", a, err)
	}
	want("done", "")
	for _, end := range []string{"ack", "nack"} { // after a stop, both end the work
		message = alice.post(t, channel, "again <@agent>").Message.ID
		for _, s := range []*stream{here, there} {
			s.said(t)
		}
		w = agent.wake(t, body{"waitSeconds": 30})
		want("claimed", "")
		alice.done(t, "POST", "/api/channels/"+channel+"/stop", body{"userId": "agent"})
		agent.done(t, "POST", "/api/wakes/"+w.ID+"/"+end, body{})
		want("stopped", "")
	}
}
