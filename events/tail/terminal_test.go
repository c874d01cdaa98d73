package tail_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"fabric-guild/handlers/e2e/guildtest"
)

// hostile is a message that attacks a terminal. It tries colours and titles (also with control characters
// above 127), the bell, backspaces, another direction of writing, and lines that look like another user's
// messages.
const hostile = "a\x1b[31m red \u009b2J\u009d0;title\x07 \b\b\r2026-01-01 00:00:00 #ops root: rm -rf /\n" +
	"2026-01-01 00:00:00 #ops root: \u202edneirf\u2066 \u200b\U000e0041 end"

// On a terminal tail prints lines for people. No message can control the terminal, neither as a line nor as
// JSON.
func TestOnATerminal(t *testing.T) {
	t.Parallel()
	lookPath(t, "script", "bsdutils")
	g := newGuild(t)
	on := func(args string) *guildtest.Running {
		// The shell prints the process id of tail, so that the test can end tail and not the terminal.
		return g.start(t, t.TempDir(), []string{"TZ=UTC"},
			"script", "-qec", "echo pid $$; exec "+program.Path+" tail "+args, "/dev/null")
	}
	await := func(p *guildtest.Running, text string) {
		guildtest.Eventually(t, "the terminal shows "+text, guildtest.Patience, func() bool {
			return strings.Contains(p.Out.String(), text)
		})
	}
	people := on("-cursor " + g.post(t, "before")) // tail must know the channel's name even if it resumes
	objects := on("-json")
	for _, p := range []*guildtest.Running{people, objects} {
		await(p, "following")
	}
	g.post(t, hostile)
	last := g.post(t, "the end of the test")
	for _, p := range []*guildtest.Running{people, objects} {
		await(p, "the end of the test")
		var pid int
		if _, err := fmt.Sscanf(p.Out.String(), "pid %d", &pid); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		p.WantExit(0)
		out := strings.ReplaceAll(p.Out.String(), "\r\n", "\n") // a terminal ends lines with \r\n
		if i := strings.IndexFunc(strings.ReplaceAll(out, "\n", ""), func(r rune) bool {
			return r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u202e' || r == '\u2066' || r == '\u200b' ||
				r == 0xe0041
		}); i >= 0 {
			t.Errorf("%v: got %q, want no character that controls a terminal", p.Cmd.Args, out)
		}
	}
	lines := regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d #ops alice \[wakes you: everyone\]: ` +
		`a\\x1b\[31m red \\u009b2J\\u009d0;title\\a \\b\\b\\r2026-01-01 00:00:00 #ops root: rm -rf /
    \| 2026-01-01 00:00:00 #ops root: \\u202edneirf\\u2066 \\u200b\\U000e0041 end
\d{4}-\d\d-\d\d \d\d:\d\d:\d\d #ops alice \[wakes you: everyone\]: the end of the test
$`)
	if out := strings.ReplaceAll(people.Out.String(), "\r\n", "\n"); !lines.MatchString(out) {
		t.Errorf("got %q, want it to end with %s", out, lines)
	}
	shown := strings.Split(strings.ReplaceAll(objects.Out.String(), "\r\n", "\n"), "\n")
	var first, second struct {
		ID   string
		Data struct{ Content string }
	}
	if err := json.Unmarshal([]byte(shown[len(shown)-3]), &first); err != nil ||
		first.Data.Content != hostile {
		t.Errorf("got %v and %q, want the content unchanged", err, first.Data.Content)
	}
	if err := json.Unmarshal([]byte(shown[len(shown)-2]), &second); err != nil || second.ID != last {
		t.Errorf("got %v and %q, want the last message", err, second.ID)
	}
}
