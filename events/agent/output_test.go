package agent_test

import (
	"os"
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

// The agent works on when nobody reads its stderr any more, and so does its command.
func TestClosedStderr(t *testing.T) {
	t.Parallel()
	g := newGuild(t)
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r := g.prepare(nil, "-exec", `for i in 1 2 3; do echo working >&2 || exit 1; done; echo done`)
	r.Cmd.Stderr = writer
	r.Start(g.Bob)
	_ = writer.Close()
	if _, err := reader.Read(make([]byte, 1)); err != nil { // it claims wakes
		t.Fatal(err)
	}
	_ = reader.Close()
	g.Says(g.Channel, "hi")
	if got := g.AwaitAnswers(g.Channel, 1); got[0].Content != "done" {
		t.Errorf("got %+v, want the answer of the command", got)
	}
	r.Stop()
}

// The agent works on when the reader of its stderr stands still, as after Ctrl-S in a terminal. It also ends
// at a signal.
func TestStuckStderr(t *testing.T) {
	t.Parallel()
	g := newGuild(t)
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Close() }()
	defer func() { _ = writer.Close() }()
	r := g.prepare(nil, "-exec", `head -c 4000000 /dev/zero | tr '\0' '\n' >&2; echo done`)
	r.Cmd.Stderr = writer
	r.Start(g.Bob)
	g.Says(g.Channel, "hi")
	g.AwaitAnswers(g.Channel, 1)
	g.Says(g.Channel, "again")
	g.AwaitAnswers(g.Channel, 2)
	r.Stop()
}
