package tail_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers/config"
	"fabric-guild/handlers/e2e/guildtest"
)

// The command kills tail in every fifth run, after it handled the event and before tail saves the cursor. The
// next run of tail must handle that event again, and no other event.
func TestEachEventIsHandledAtLeastOnce(t *testing.T) {
	t.Parallel()
	g := newGuild(t)
	dir := t.TempDir()
	var want []string
	cursor := g.post(t, "before")
	for i := range 30 {
		want = append(want, g.post(t, fmt.Sprint(i)))
	}
	kills := 0
	for kills < len(want) {
		p := g.tail(t, dir, nil, "-cursor", cursor, "-cursor-file", "cursor",
			"-exec", "echo $FABRIC_CURSOR >>handled; [ $(($(wc -l <handled) % 5)) -ne 0 ] || kill -9 $PPID")
		guildtest.Eventually(t, "tail was killed or has handled all events", guildtest.Patience, func() bool {
			return p.HasEnded() || exists(dir, "cursor") && readFile(t, dir, "cursor") == want[len(want)-1]
		})
		if !p.HasEnded() {
			p.Stop()
			break
		}
		p.WantExit(-1)
		kills++
	}
	handled := strings.Split(readFile(t, dir, "handled"), "\n")
	if len(handled) != len(want)+kills || kills < 6 {
		t.Errorf("got %d runs and %d kills, want %d runs and one more for each kill",
			len(handled), kills, len(want))
	}
	if got := slices.Compact(handled); !slices.Equal(got, want) {
		t.Errorf("got %q, want each event in order, and twice only if tail was killed: %q", handled, want)
	}
}

// The command gets the event on stdin. It gets the event's fields and bob's token in its environment.
func TestCommandGetsTheEvent(t *testing.T) {
	t.Parallel()
	g := newGuild(t)
	dir := t.TempDir()
	p := g.tail(t, dir, []string{"FABRIC_MESSAGE_ID=of an outer tail"}, "-exec",
		`cat >stdin.$FABRIC_EVENT; env | grep ^FABRIC_ | sort >env.$FABRIC_EVENT; echo out; echo err >&2`)
	p.Await("following")
	cursor := g.post(t, "hi <@bob>; rm 'all'  $(of) \"it\"\n")
	p.AwaitLines(1)
	var changed struct{ Cursor string }
	carol := "/api/channels/" + g.channel + "/members/carol"
	g.request(t, http.MethodPut, carol, g.alice, nil, &changed, http.StatusOK)
	p.AwaitLines(2)
	p.Stop()
	if got := p.Out.String(); got != "out\nout\n" {
		t.Errorf("got %q on stdout, want only the command's output", got)
	}
	if got := strings.Count(p.Err.String(), "err\n"); got != 2 {
		t.Errorf("got %q on stderr, want the command's errors", p.Err)
	}
	var o struct {
		ID, Event string
		Data      map[string]any
	}
	err := json.Unmarshal([]byte(readFile(t, dir, "stdin.message.created")), &o)
	if err != nil || o.ID != cursor || o.Event != "message.created" {
		t.Errorf("got %v and %v on stdin, want the event", err, o)
	}
	secret := config.EnvPrefix + "TOKEN=" + g.bob
	want := []string{
		config.EnvPrefix + "URL=" + g.Base(),
		secret,
		"FABRIC_CHANNEL_ID=" + g.channel,
		"FABRIC_CONTENT=hi <@bob>; rm 'all'  $(of) \"it\"",
		"FABRIC_CURSOR=" + cursor,
		"FABRIC_EVENT=message.created",
		"FABRIC_GUILD_ID=g1",
		fmt.Sprint("FABRIC_MESSAGE_ID=", o.Data["id"]),
		"FABRIC_URL=" + g.Base(),
		"FABRIC_USER_ID=alice",
		"FABRIC_WAKEUP=true",
		"FABRIC_WAKE_ID=",
		"FABRIC_WAKE_REASON=mention",
		"FABRIC_X_TYPE=general",
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, variables(t, dir, "env.message.created")); diff != "" {
		t.Errorf("variables of a message (-want +got):\n%s", diff)
	}
	want = []string{
		config.EnvPrefix + "URL=" + g.Base(),
		secret,
		"FABRIC_CHANNEL_ID=" + g.channel,
		"FABRIC_CONTENT=",
		"FABRIC_CURSOR=" + changed.Cursor,
		"FABRIC_EVENT=member.joined",
		"FABRIC_GUILD_ID=g1",
		"FABRIC_MESSAGE_ID=",
		"FABRIC_URL=" + g.Base(),
		"FABRIC_USER_ID=carol",
		"FABRIC_WAKEUP=",
		"FABRIC_WAKE_ID=",
		"FABRIC_WAKE_REASON=",
		"FABRIC_X_TYPE=general",
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, variables(t, dir, "env.member.joined")); diff != "" {
		t.Errorf("variables of another event (-want +got):\n%s", diff)
	}
}

// variables returns the sorted lines of a file.
func variables(t *testing.T, path ...string) []string {
	t.Helper()
	lines := strings.Split(readFile(t, path...), "\n")
	lines = slices.DeleteFunc(lines, func(s string) bool { return s == "" })
	slices.Sort(lines)
	return lines
}

// tail runs a failing command again. After too many failures tail ends. The next run of tail begins with the
// event that failed.
func TestFailingCommand(t *testing.T) {
	dbtest.Long(t)
	t.Parallel()
	g := newGuild(t)
	dir := t.TempDir()
	args := []string{"-cursor", g.post(t, "before"), "-cursor-file", "cursor", "-exec"}
	first := g.post(t, "one")
	second := g.post(t, "two")
	g.post(t, "three")
	p := g.tail(t, dir, nil, append(args, `echo $FABRIC_CONTENT
		case $FABRIC_CONTENT in
		one) test -e tried || ! touch tried;;
		two) exit 7;;
		esac`)...)
	p.WantExit(5)
	if got, want := p.Out.String(), "one\none\ntwo\ntwo\ntwo\ntwo\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, want := range []string{
		"fabric-guild: the command failed (exit status 1) for the event " + first + "; trying again in 1s\n",
		"fabric-guild: the command failed (exit status 7) for the event " + second + "; trying again in 4s\n",
		"fabric-guild: the command failed 4 times for the event " + second + ": exit status 7; the event " +
			"is not handled yet\n",
	} {
		if !strings.Contains(p.Err.String(), want) {
			t.Errorf("got %q on stderr, want it to contain %q", p.Err, want)
		}
	}
	p = g.tail(t, dir, nil, append(args, `echo $FABRIC_CONTENT`)...)
	p.AwaitLines(2)
	p.Stop()
	if got := p.Out.String(); got != "two\nthree\n" {
		t.Errorf("the next run: got %q, want it to begin with the event that failed", got)
	}
}

// After the first signal tail waits for the running command. The event of that command counts as handled.
func TestSignalWaitsForTheCommand(t *testing.T) {
	t.Parallel()
	g := newGuild(t)
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		dir := t.TempDir()
		p := program.Client(t, g.environment(), program.Path, "tail", "-cursor-file", "cursor",
			"-exec", `echo begun; until test -e go; do sleep 0.02; done; echo done`)
		p.Cmd.Dir = dir
		p.Cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		p.Start(g.bob)
		p.Await("following")
		cursor := g.post(t, "one")
		g.post(t, "two")
		p.AwaitLines(1)
		// A terminal sends Ctrl-C to the whole process group.
		if err := syscall.Kill(-p.Cmd.Process.Pid, s); err != nil {
			t.Error(err)
		}
		p.Await("waiting for the command")
		writeFile(t, "", dir, "go")
		p.WantExit(0)
		if got := p.Out.String(); got != "begun\ndone\n" {
			t.Errorf("%v: got %q on stdout, want that the running command finished", s, got)
		}
		if got := readFile(t, dir, "cursor"); got != cursor {
			t.Errorf("%v: got the cursor %s, want the cursor of the handled event, %s", s, got, cursor)
		}
	}
}

// tail passes the second signal on to the command and to all processes that the command started. The event of
// an interrupted command is not handled.
func TestSecondSignalReachesTheCommand(t *testing.T) {
	t.Parallel()
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP} {
		g := newGuild(t)
		dir := t.TempDir()
		before := g.post(t, "before")
		g.post(t, "one")
		p := g.tail(t, dir, nil, "-cursor", before, "-cursor-file", "cursor", "-exec",
			`sleep 600 & echo $!; wait`)
		p.AwaitLines(1)
		p.Signal(s)
		p.Await("waiting for the command")
		p.Signal(s)
		p.WantExit(0)
		if got := readFile(t, dir, "cursor"); got != before {
			t.Errorf("%v: got the cursor %s, want the first cursor, %s", s, got, before)
		}
		var child int
		_, _ = fmt.Sscan(p.Out.String(), &child)
		guildtest.Eventually(t, "the command's child is gone", guildtest.Patience, func() bool {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child))
			return err != nil || strings.Contains(string(b), ") Z ")
		})
	}
}

// tail does not wait for a background process of the command, even if that process holds stdin and reads
// nothing.
func TestCommandLeavesAChild(t *testing.T) {
	t.Parallel()
	g := newGuild(t)
	dir := t.TempDir()
	before := g.post(t, "before")
	g.post(t, strings.Repeat("\x7f", 16000)) // with escapes this is more than a pipe holds
	last := g.post(t, "last")
	p := g.tail(t, dir, nil, "-cursor", before, "-cursor-file", "cursor",
		"-exec", `exec 3<&0; sleep 600 <&3 >/dev/null 2>&1 & echo $!`)
	t.Cleanup(func() {
		for pid := range strings.Lines(p.Out.String()) {
			if child, err := strconv.Atoi(strings.TrimSpace(pid)); err == nil {
				_ = syscall.Kill(child, syscall.SIGKILL)
			}
		}
	})
	guildtest.Eventually(t, "both events are handled", guildtest.Patience, func() bool {
		return exists(dir, "cursor") && readFile(t, dir, "cursor") == last
	})
	p.Stop()
	if got := strings.Count(p.Out.String(), "\n"); got != 2 {
		t.Errorf("got %d runs, want 2", got)
	}
}
