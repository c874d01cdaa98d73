package events

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

// reflected returns m as encoding/json writes it, except that U+0085 is escaped, which encoding/json leaves
// raw.
func reflected(t *testing.T, m *Message) string {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(m); err != nil {
		t.Fatal(err)
	}
	text := string(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
	return strings.ReplaceAll(text, "\u0085", `\u0085`)
}

func TestAMessageIsWrittenAsEncodingJSONDoes(t *testing.T) {
	t.Parallel()
	at := Time{time.Date(2026, 11, 22, 8, 7, 46, 123456789, time.FixedZone("east", 3600))}
	reply := uuid.MustParse("0199aa4e-8d3f-7a10-8000-0123456789ab")
	for name, m := range map[string]Message{
		"empty": {},
		"plain": {
			ID: reply, ChannelID: reply, GuildID: "g1", XType: General, AuthorUserID: "bob",
			Content: "hi", MentionUserIDs: []string{}, CreatedAt: at,
		},
		"all": {
			ID: reply, GuildID: "g1", XType: Discuss, AuthorUserID: "bob", Content: "hi <@alice>",
			MentionUserIDs: []string{"alice", "carol"}, ReplyTo: &reply, ReplyToUserID: "carol",
			AuthorKind: Agent, AuthorName: "B\u2028b", CreatedAt: at, EditedAt: &at, Deleted: true,
			Redacted: true, TurnUserID: "alice", Seq: 7, Admin: "root",
		},
		"controls": {Content: "a\nb\tc\x00\x1f\x7f\u0080"},
		"quotes":   {Content: `"\`, AuthorUserID: `"`, GuildID: `\`},
		"markup":   {Content: "<b>&</b>"},
		"lines":    {Content: "a\u2028b\u2029c\u2027\u202a—“…”"},
		"next":     {Content: "a\u0085b\u0084\u0086", AuthorUserID: "\\\u0085"},
		"end":      {Content: "\xe2\x80"},
		"end of 2": {Content: "\xc2"},
		"invalid":  {Content: "a\xffb", MentionUserIDs: []string{"\xe2\x80\xa8"}},
		"other":    {Content: "héllo 世界 🙂 \ufffd"},
	} {
		if diff := cmp.Diff(reflected(t, &m), string(m.AppendJSON(nil))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func FuzzMessageJSON(f *testing.F) {
	f.Add("hi <@alice>", "g1", "alice", true)
	f.Add("\u0085\u2028\"\\\n\xff—", "\x00", "é", false)
	f.Fuzz(func(t *testing.T, content, guild, user string, flag bool) {
		m := Message{
			Content: content, GuildID: guild, AuthorUserID: user, AuthorKind: UserKind(guild),
			AuthorName: content, ReplyToUserID: user, TurnUserID: guild,
			MentionUserIDs: []string{user, content}, Deleted: flag, Redacted: !flag,
		}
		if diff := cmp.Diff(reflected(t, &m), string(m.AppendJSON(nil))); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// unicodeLines are all the characters at which Python's str.splitlines splits.
const unicodeLines = "\n\r\x0b\x0c\x1c\x1d\x1e\u0085\u2028\u2029"

// The lines of a text must not become lines of the stream, not even for a reader that splits at Unicode line
// ends.
func TestFramesAreLinesToEveryReader(t *testing.T) {
	t.Parallel()
	text := "begin" + strings.Join(strings.Split(unicodeLines, ""), "id: 7\\") + "end"
	e := &Event{
		Cursor: Cursor{7, 1042}, Kind: MessageCreated, ChannelID: ops, GuildID: text, Name: text,
		Message: &Message{
			ChannelID: ops, GuildID: text, XType: General, AuthorUserID: text, Content: text,
			MentionUserIDs: []string{"reader"},
		},
	}
	renamed := &Event{
		Cursor: Cursor{7, 1043}, Kind: ChannelUpdated, ChannelID: ops, GuildID: text,
		Name: text, UserID: text,
	}
	frames := []*Frame{
		e.FrameFor("reader", Interval{}, &Filter{}),
		renamed.FrameFor("reader", Interval{}, &Filter{}),
	}
	ready := Ready{Cursor: Cursor{7, 1042}, UserID: text, Channels: &[]Channel{{Name: text}}}
	frames = append(frames, ready.Frame(ready.Cursor))
	for _, f := range frames {
		if got := strings.Trim(string(f.SSE()), "\n"); strings.ContainsAny(strings.ReplaceAll(got, "\n", ""),
			unicodeLines) || strings.Count(got, "\n") != 2 {
			t.Errorf("got %q, want three lines", got)
		}
		if got := strings.TrimSuffix(string(f.line().SSE()), "\n"); strings.ContainsAny(got, unicodeLines) {
			t.Errorf("got %q, want one line", got)
		}
		var data struct{ GuildID, Name, Content, UserID, AuthorUserID string }
		if err := json.Unmarshal(f.Data, &data); err != nil {
			t.Fatal(err)
		}
		for _, got := range []string{data.GuildID, data.Name, data.Content, data.UserID, data.AuthorUserID} {
			if got != text && got != "" && got != "reader" {
				t.Errorf("got %q, want %q", got, text)
			}
		}
	}
}

// The bound of the ring counts the bytes that JSON adds to a text.
func TestEscapesCountsWhatJSONAdds(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"", "plain \u00e9 \u4e16", "\x01\x1f", `"\`, "\u0085\u0084",
		"\u2028\u2029\u2027", "\n\t",
	} {
		if got, least := len(s)+escapes(s), len(appendString(nil, s))-len(`""`); got < least {
			t.Errorf("%q: got %d bytes, want at least %d", s, got, least)
		}
	}
}
