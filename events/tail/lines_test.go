package tail

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/events"
	"fabric-guild/events/follow"
	"fabric-guild/events/remote"
)

// testdata/stream.jsonl has each kind of event as a server sends it. lines.txt has the lines for people.
func TestLines(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	l := &lines{
		to:    &out,
		wants: func(string) bool { return true },
		zone:  time.FixedZone("", 2*60*60),
		names: map[string]string{},
	}
	stream := readTestdata(t, "stream.jsonl")
	for _, name := range events.EventNames {
		if !strings.Contains(stream, `"event":"`+name+`"`) {
			t.Errorf("stream.jsonl lacks the event %s", name)
		}
	}
	for line := range strings.Lines(stream) {
		var o struct {
			ID, Event string
			Data      json.RawMessage
		}
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatal(err)
		}
		if err := l.take(t.Context(),
			decode(follow.Event{ID: o.ID, Name: o.Event, Data: o.Data})); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(readTestdata(t, "lines.txt"), out.String()); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func readTestdata(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// For any input, Plain returns one line of harmless text, and the JSON line is harmless and has the same
// meaning.
func FuzzPlain(f *testing.F) {
	for _, s := range []string{
		"", "hi", "\x1b[2J", "\u009b\u202e\U000e0041\x7f", "\xff\x9b", "👩‍👩‍👧 नमस्ते　全角", "a\nb\tc",
	} {
		f.Add(s)
	}
	harmful := func(r rune) bool { return !remote.Harmless(r) }
	f.Fuzz(func(t *testing.T, s string) {
		if got := remote.Plain(s); strings.ContainsFunc(got, harmful) || !utf8.ValidString(got) {
			t.Errorf("got %q for %q, want harmless text", got, s)
		}
		data, err := json.Marshal(map[string]string{"content": s})
		if err != nil {
			t.Fatal(err)
		}
		e := event{Event: follow.Event{ID: "1.2", Name: "message.created", Data: data}}
		line := string(e.line())
		if rest := strings.TrimSuffix(line, "\n"); strings.ContainsFunc(rest, harmful) || rest == line {
			t.Errorf("got %q for %q, want one harmless line", line, s)
		}
		var want, got struct{ Content string }
		var o struct {
			ID, Event string
			Data      json.RawMessage
		}
		if json.Unmarshal(data, &want) != nil || json.Unmarshal([]byte(line), &o) != nil ||
			json.Unmarshal(o.Data, &got) != nil || got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
