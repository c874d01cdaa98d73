package events

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

// reflected is m as encoding/json writes it by itself.
func reflected(t *testing.T, m *Message) string {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(m); err != nil {
		t.Fatal(err)
	}
	return string(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}

func TestAMessageIsWrittenAsEncodingJSONDoes(t *testing.T) {
	t.Parallel()
	at := Time{time.Date(2026, 11, 22, 8, 7, 46, 123456789, time.FixedZone("east", 3600))}
	reply := uuid.MustParse("0199aa4e-8d3f-7a10-8000-0123456789ab")
	for name, m := range map[string]Message{
		"empty":    {},
		"plain":    {ID: reply, ChannelID: reply, GuildID: "g1", XType: General, AuthorUserID: "bob", Content: "hi", MentionUserIDs: []string{}, CreatedAt: at},
		"all":      {ID: reply, GuildID: "g1", XType: Discuss, AuthorUserID: "bob", Content: "hi <@alice>", MentionUserIDs: []string{"alice", "carol"}, ReplyTo: &reply, CreatedAt: at, EditedAt: &at, Deleted: true, Redacted: true, TurnUserID: "alice", Seq: 7, Admin: "root"},
		"controls": {Content: "a\nb\tc\x00\x1f\x7f\u0080"},
		"quotes":   {Content: `"\`, AuthorUserID: `"`, GuildID: `\`},
		"markup":   {Content: "<b>&</b>"},
		"lines":    {Content: "a\u2028b\u2029c\u2027\u202a—“…”"},
		"end":      {Content: "\xe2\x80"},
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
	f.Add("\u2028\"\\\n\xff—", "\x00", "é", false)
	f.Fuzz(func(t *testing.T, content, guild, user string, flag bool) {
		m := Message{Content: content, GuildID: guild, AuthorUserID: user, TurnUserID: guild, MentionUserIDs: []string{user, content}, Deleted: flag, Redacted: !flag}
		if diff := cmp.Diff(reflected(t, &m), string(m.AppendJSON(nil))); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}
