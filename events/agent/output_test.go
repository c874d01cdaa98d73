package agent_test

import (
	"strings"
	"testing"

	"fabric-guild/db/dbtest"
)

// JSON writes some characters in six bytes. A reply of them is posted too, whole and in order.
func TestReplyOfCharactersThatGrow(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		char string
		most int // messages
	}{
		"brackets":           {"<", 2},
		"control characters": {"\001", 4},
		"quotes":             {`"`, 2},
	} {
		t.Run(name, func(t *testing.T) {
			if name != "brackets" && name != "control characters" {
				dbtest.Long(t)
			}
			t.Parallel()
			g := newGuild(t)
			want := strings.Repeat(tt.char, 20_000/len(tt.char)) + "."
			g.write("answer", want)
			g.Says(g.Channel, "draw")
			g.agent("cat answer")
			got := g.AwaitAnswers(g.Channel, 1)
			var all strings.Builder
			for _, a := range got {
				all.WriteString(a.Content)
			}
			if all.String() != want || len(got) > tt.most {
				t.Errorf("got %d messages with %d bytes, want %d at most with %d bytes",
					len(got), all.Len(), tt.most, len(want))
			}
		})
	}
}
