package streamtest_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/tmaxmax/go-sse"

	"fabric-guild/handlers/e2e/nodetest"
)

// What could end a line, a frame or a parser's patience, in every field that a user writes, comes out of a
// parser that is not ours as it went in, over every transport.
func TestNoContentBreaksAStream(t *testing.T) {
	t.Parallel()
	evil := []string{
		"\r", "\n", "\r\n", "a\rb\nc\r\nd", ":", ": hb 1.1", ":\n\n:",
		"a\n\nevent: message.created\ndata: {}\nid: 1.1\n\n", "id: 9.9",
		"\u2028", "a\u2029b", "\ufeff", "\u0085", "\x01\x1b[31m\x7f", "\\r\\n", `"}`, "\u200b\u202e", "😀",
		strings.Repeat("\n", 1000),
	}
	nodetest.OverTransports(t, func(t *testing.T, n *nodetest.Node, over nodetest.Transport) {
		alice := n.User("alice")
		bob, _ := n.User("bob").Fresh(t, over, "")
		var want []string
		last := ""
		for _, s := range evil {
			name := strings.Map(func(r rune) rune { // a name is one line that shows
				if r < ' ' || r > '~' && r < '\u00a0' || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) {
					return -1
				}
				return r
			}, ": "+s)
			if len(name) > 90 {
				name = ": long"
			}
			c := alice.General(t, name, "bob")
			m := alice.Post(t, c.Channel.ID, "."+s)
			edited := alice.Edits(t, m.Message.ID, s+".")
			want, last = append(want, name, "."+s, s+"."), edited.Cursor
			alice.Refused(t, 422, "invalid", "POST", "/api/channels/"+c.Channel.ID+"/messages",
				nodetest.Body{"content": s + "\x00"})
			if s != "😀" && strings.TrimSpace(s) != "" {
				for _, field := range []string{"guildId", "xType", "history"} {
					b := nodetest.Body{"guildId": "g1", "name": "x", "xType": "general"}
					b[field] = s
					alice.Refused(t, 422, "invalid", "POST", "/api/channels", b)
				}
			}
		}
		var got []string
		var bytes strings.Builder
		for id := ""; id != last; {
			f := bob.Next(t)
			bytes.WriteString(f.Raw)
			id = f.ID
		}
		for e, err := range sse.Read(strings.NewReader(bytes.String()), nil) {
			if err != nil {
				t.Fatal(err)
			}
			var d struct{ Name, Content string }
			if err := json.Unmarshal([]byte(e.Data), &d); err != nil {
				t.Fatal(err)
			}
			if got = append(got, d.Name+d.Content); !strings.HasPrefix(e.LastEventID,
				strings.Split(last, ".")[0]+".") || !strings.Contains(e.Type, ".") {
				t.Errorf("got %+v, want an event of ours", e)
			}
		}
		var heard []string // the text as it is now: an edit may be on the stream before the post is
		for i, s := range want {
			if i%3 == 1 && i < len(got) && got[i] == want[i+1] {
				s = want[i+1]
			}
			heard = append(heard, s)
		}
		if diff := cmp.Diff(heard, got); diff != "" {
			t.Errorf("(-written +parsed):\n%s", diff)
		}
	})
}
