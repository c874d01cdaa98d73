package events

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/tmaxmax/go-sse"
)

func TestAFrameIsAsTheContractShowsIt(t *testing.T) {
	t.Parallel()
	at := Time{time.Date(2026, 11, 22, 8, 7, 46, 123456789, time.UTC)}
	e := &Event{
		Cursor: Cursor{1795305600, 1043}, Kind: MessageCreated, UserID: "bob", OccurredAt: at, ChannelID: ops,
		GuildID: "g1", XType: General,
		Message: &Message{
			ID: channelNamed(9), ChannelID: ops, GuildID: "g1", XType: General, AuthorUserID: "bob",
			AuthorKind: Agent, AuthorName: "Bob’s agent",
			Content: "hi <@alice>\r\n\u2028id: 7\n\n:", MentionUserIDs: []string{"alice"}, CreatedAt: at,
		},
	}
	want := "event: message.created\n" +
		`data: {"id":"00000000-0000-7000-8000-000000000009",` +
		`"channelId":"00000000-0000-7000-8000-000000000001",` +
		`"guildId":"g1",` +
		`"xType":"general","authorUserId":"bob","authorKind":"agent","authorName":"Bob’s agent",` +
		`"content":"hi <@alice>\r\n\u2028id: 7\n\n:","mentionUserIds":["alice"],` +
		`"createdAt":"2026-11-22T08:07:46.123Z","wakeup":true,"wakeReason":"mention"}` + "\n" +
		"id: 1795305600.1043\n\n"
	if diff := cmp.Diff(want, string(e.FrameFor("alice", Interval{}, &Filter{}).SSE())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Every member hears that the guard tripped, also one who was not shown the message.
func TestEveryoneHearsThatTheGuardTripped(t *testing.T) {
	t.Parallel()
	e := &Event{
		Cursor: Cursor{1, 2}, Kind: GuardTripped, UserID: "bot", ChannelID: ops, GuildID: "g1", Name: "ops",
		XType: Triage,
		Message: &Message{
			ID: channelNamed(9), XType: Triage, AuthorUserID: "bot", Content: "secret",
			Bound: BoundGuard,
		},
	}
	want := "event: guard.tripped\n" +
		`data: {"channelId":"00000000-0000-7000-8000-000000000001","userId":"bot",` +
		`"xType":"triage","occurredAt":"0001-01-01T00:00:00.000Z",` +
		`"guildId":"g1","name":"ops","messageId":"00000000-0000-7000-8000-000000000009"}` + "\n" +
		"id: 1.2\n\n"
	for _, user := range []string{"bot", "dave"} {
		if diff := cmp.Diff(want, string(e.FrameFor(user, Interval{}, &Filter{}).SSE())); diff != "" {
			t.Errorf("%s (-want +got):\n%s", user, diff)
		}
	}
	if got := e.FrameFor("dave", Interval{}, &Filter{Types: []string{"message.created"}}); got != nil {
		t.Errorf("another type was asked for: got %s", got.SSE())
	}
}

// A message is encoded once per variant, and never per recipient.
func TestRecipientsShareFrames(t *testing.T) { // not parallel: it counts allocations
	e := &Event{
		Cursor: Cursor{1, 2}, Kind: MessageCreated, ChannelID: ops,
		Message: &Message{XType: General, AuthorUserID: "bob", MentionUserIDs: []string{"alice"}},
	}
	e.Message.Settle()
	f := &Filter{}
	if e.FrameFor("carol", Interval{}, f) != e.FrameFor("dave", Interval{}, f) {
		t.Error("two recipients of one variant got two encodings")
	}
	if e.FrameFor("alice", Interval{}, f) == e.FrameFor("dave", Interval{}, f) {
		t.Error("two variants share an encoding")
	}
	if n := testing.AllocsPerRun(100, func() { e.FrameFor("carol", Interval{}, f) }); n != 0 {
		t.Errorf("a further recipient costs %v allocations, want 0", n)
	}
}

func TestFilter(t *testing.T) {
	t.Parallel()
	message := &Event{
		Kind: MessageCreated, ChannelID: ops, GuildID: "g1",
		Message: &Message{XType: Report, AuthorUserID: "bob"},
	}
	joined := &Event{Kind: MemberJoined, UserID: "alice", ChannelID: ops, GuildID: "g1"}
	for _, tt := range []struct {
		name   string
		event  *Event
		filter Filter
		want   bool
	}{
		{"everything", message, Filter{}, true},
		{"another guild", message, Filter{Guilds: []string{"g2"}}, false},
		{"this guild", message, Filter{Guilds: []string{"g2", "g1"}}, true},
		{"only what wakes", message, Filter{Wakeup: true}, false},
		{"another type", message, Filter{Types: []string{"channel.joined"}}, false},
		{"this type", message, Filter{Types: []string{"message.created"}}, true},
		{"another channel", message, Filter{Channels: []uuid.UUID{channelNamed(2)}}, false},
		{"this channel", message, Filter{Channels: []uuid.UUID{ops}}, true},
		{
			"both, one of which fails", message,
			Filter{Types: []string{"message.created"}, Channels: []uuid.UUID{channelNamed(2)}},
			false,
		},
		{"my own, of another channel", joined, Filter{Channels: []uuid.UUID{channelNamed(2)}}, true},
		{"my own, of another type", joined, Filter{Types: []string{"message.created"}}, false},
		{"my own, of another guild", joined, Filter{Guilds: []string{"g2"}}, false},
		{"my own, only what wakes", joined, Filter{Wakeup: true}, true},
	} {
		if got := tt.event.FrameFor("alice", Interval{}, &tt.filter) != nil; got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

// A foreign parser reads every frame as one event, with the name, the id and the JSON that the frame was made
// of, whatever a user writes. The id comes last.
func FuzzFrame(f *testing.F) {
	for _, evil := range []string{
		"", "hi", ":", ": hb 1.1", "\r", "\n", "\r\n", "\n\n", "a\nid: 7\n\nevent: x\ndata: y\n\n", "\x00",
		"\u2028", "\u2029", "\ufeff", "\xff", "\"", "\\", "\u0085", "</script>", "data: ",
	} {
		f.Add(evil, "ops", "alice", uint8(0))
		f.Add("hi", evil, "alice", uint8(1))
		f.Add("hi", "ops", evil, uint8(2))
		f.Add(evil, evil, evil, uint8(3))
	}
	kinds := []Kind{
		MessageCreated, MessageUpdated, ChannelCreated, ChannelUpdated, MemberJoined, MemberLeft,
		TurnChanged,
	}
	f.Fuzz(func(t *testing.T, content, name, user string, kind uint8) {
		e := &Event{
			Cursor: Cursor{7, 1042}, Kind: kinds[int(kind)%len(kinds)], UserID: user, ChannelID: ops,
			GuildID: name, Name: name, XType: XType(name), Reason: content,
			Message: &Message{
				ID: channelNamed(9), ChannelID: ops, GuildID: name, AuthorUserID: user,
				Content: content, MentionUserIDs: []string{user}, TurnUserID: user,
			},
		}
		frames := []*Frame{
			e.FrameFor("reader", Interval{}, &Filter{Echo: true}),
			Ready{
				Cursor: Cursor{7, 1042}, UserID: user, Reason: content,
				Channels: &[]Channel{{Name: name}},
			}.Frame(Cursor{7, 1042}),
		}
		for _, frame := range frames {
			if frame == nil {
				continue
			}
			var parsed []sse.Event
			for p, err := range sse.Read(bytes.NewReader(frame.SSE()),
				&sse.ReadConfig{MaxEventSize: 16 << 20}) {
				if err != nil {
					t.Fatal(err)
				}
				parsed = append(parsed, p)
			}
			want := []sse.Event{{LastEventID: "7.1042", Type: frame.Event, Data: string(frame.Data)}}
			if diff := cmp.Diff(want, parsed); diff != "" {
				t.Errorf("%q (-want +parsed):\n%s", frame.SSE(), diff)
			}
			if !bytes.HasSuffix(frame.SSE(), []byte("\nid: 7.1042\n\n")) {
				t.Errorf("got %q, want the id last", frame.SSE())
			}
			line := frame.line().SSE()
			var asLine struct {
				ID, Event string
				Data      json.RawMessage
			}
			if err := json.Unmarshal(line, &asLine); err != nil ||
				bytes.IndexByte(line, '\n') != len(line)-1 || bytes.ContainsAny(line, "\r\x00") {
				t.Fatalf("got the line %q and error %v, want one line of JSON", line, err)
			}
			if asLine.ID != "7.1042" || asLine.Event != frame.Event || !bytes.Equal(asLine.Data, frame.Data) {
				t.Errorf("got the line %s, want %s %s", line, frame.Event, frame.Data)
			}
			var data struct{ Name, Content, UserID, AuthorUserID, Reason string }
			if err := json.Unmarshal(frame.Data, &data); err != nil {
				t.Fatalf("%v in %q", err, frame.Data)
			}
			readable := func(s string) string { return strings.ToValidUTF8(s, "\ufffd") }
			for _, s := range []string{data.Name, data.Content, data.UserID, data.AuthorUserID, data.Reason} {
				if s != "" && s != "reader" && collapse(s) != collapse(readable(name)) &&
					collapse(s) != collapse(readable(content)) && collapse(s) != collapse(readable(user)) {
					t.Errorf("got %q, want one of what went in, %q, %q, %q", s, name, content, user)
				}
			}
		}
	})
}

// collapse replaces each run of replacement characters by one: encoders write different numbers of them for
// invalid UTF-8.
func collapse(s string) string { return regexp.MustCompile("\ufffd+").ReplaceAllString(s, "\ufffd") }
