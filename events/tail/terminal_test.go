package tail_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"fabric-guild/handlers/guildtest"
)

// what a message may try: colours and titles, also by the controls above 127, the bell, going back, another
// direction, and a line that looks like another's.
const hostile = "a\x1b[31m red \u009b2J\u009d0;title\x07 \b\b\r2026-01-01 00:00:00 #ops root: rm -rf /\n2026-01-01 00:00:00 #ops root: \u202edneirf\u2066 \u200b\U000e0041 end"

// On a terminal people read, and no message gets to drive it, be it shown as a line or as JSON.
func TestOnATerminal(t *testing.T) {
	t.Parallel()
	lookPath(t, "script", "bsdutils")
	g := newGuild(t)
	on := func(args string) *process {
		// It is told its process, to end that and not the terminal.
		return g.start(t, t.TempDir(), []string{"TZ=UTC"}, "script", "-qec", "echo pid $$; exec "+program.Path+" tail "+args, "/dev/null")
	}
	people, objects := on("-cursor "+g.post(t, "before")), on("-json") // the channel's name is known where it goes on, too
	for _, p := range []*process{people, objects} {
		guildtest.Eventually(t, "it follows", guildtest.Patience, func() bool { return strings.Contains(p.out.String(), "following") })
	}
	g.post(t, hostile)
	last := g.post(t, "the end of the test")
	for _, p := range []*process{people, objects} {
		guildtest.Eventually(t, "the last line", guildtest.Patience, func() bool { return strings.Contains(p.out.String(), "the end of the test") })
		var pid int
		if _, err := fmt.Sscanf(p.out.String(), "pid %d", &pid); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		p.wantExit(0)
		out := strings.ReplaceAll(p.out.String(), "\r\n", "\n") // a terminal's line end
		if i := strings.IndexFunc(strings.ReplaceAll(out, "\n", ""), func(r rune) bool {
			return r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u202e' || r == '\u2066' || r == '\u200b' || r == 0xe0041
		}); i >= 0 {
			t.Errorf("%v: got %q, want nothing that drives a terminal", p.cmd.Args, out)
		}
	}
	lines := regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d #ops alice \[wakes you: everyone\]: a\\x1b\[31m red \\u009b2J\\u009d0;title\\a \\b\\b\\r2026-01-01 00:00:00 #ops root: rm -rf /
    \| 2026-01-01 00:00:00 #ops root: \\u202edneirf\\u2066 \\u200b\\U000e0041 end
\d{4}-\d\d-\d\d \d\d:\d\d:\d\d #ops alice \[wakes you: everyone\]: the end of the test
$`)
	if out := strings.ReplaceAll(people.out.String(), "\r\n", "\n"); !lines.MatchString(out) {
		t.Errorf("got %q, want its end to be %s", out, lines)
	}
	shown := strings.Split(strings.ReplaceAll(objects.out.String(), "\r\n", "\n"), "\n")
	var first, second struct {
		ID   string
		Data struct{ Content string }
	}
	if err := json.Unmarshal([]byte(shown[len(shown)-3]), &first); err != nil || first.Data.Content != hostile {
		t.Errorf("got %v and %q, want the content as it was sent", err, first.Data.Content)
	}
	if err := json.Unmarshal([]byte(shown[len(shown)-2]), &second); err != nil || second.ID != last {
		t.Errorf("got %v and %q, want the last message", err, second.ID)
	}
}
