package agent_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers/config"
	"fabric-guild/handlers/e2e/guildtest"
)

// What the command prints is the reply. It gets the whole wake on stdin, and its newest message in variables.
func TestReply(t *testing.T) {
	t.Parallel()
	g := newGuild(t)
	first := g.Says(g.Channel, "one")
	second := g.Says(g.Channel, "<@bob> two; 'x'")
	r := g.launch([]string{"FABRIC_CURSOR=of an outer command"}, "-exec",
		`cat >stdin; env | grep ^FABRIC_ | grep -v _TOKEN= >variables; echo; echo "/done €"; echo heard >&2`)
	want := []guildtest.Answer{{Content: "/done €", ReplyTo: second, Ends: true}}
	if diff := cmp.Diff(want, g.AwaitAnswers(g.Channel, 1)); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
	r.Stop()
	var in struct {
		ID, ChannelID, Reason string
		Messages              []struct{ ID string }
	}
	if err := json.Unmarshal([]byte(g.file("stdin")), &in); err != nil || in.ChannelID != g.Channel {
		t.Fatalf("got %v and %+v on stdin", err, in)
	}
	if len(in.Messages) != 2 || in.Messages[0].ID != first || in.Messages[1].ID != second {
		t.Errorf("got %+v on stdin, want both messages", in.Messages)
	}
	variables := []string{
		config.EnvPrefix + "URL=" + g.Base(),
		"FABRIC_CHANNEL_ID=" + g.Channel,
		"FABRIC_CONTENT=<@bob> two; 'x'",
		"FABRIC_CURSOR=",
		"FABRIC_EVENT=wake",
		"FABRIC_GUILD_ID=g1",
		"FABRIC_MESSAGE_ID=" + second,
		"FABRIC_URL=" + g.Base(),
		"FABRIC_USER_ID=alice",
		"FABRIC_WAKEUP=true",
		"FABRIC_WAKE_ID=" + in.ID,
		"FABRIC_WAKE_REASON=mention",
		"FABRIC_X_TYPE=general",
	}
	got := strings.Split(g.file("variables"), "\n")
	slices.Sort(got)
	slices.Sort(variables)
	if diff := cmp.Diff(variables, got); diff != "" {
		t.Errorf("variables (-want +got):\n%s", diff)
	}
	if !strings.Contains(r.Err.String(), "heard\n") || r.Out.String() != "" {
		t.Errorf("got %q and %q, want the command's stderr and nothing on stdout", r.Err, r.Out)
	}
}

// A long reply is several messages. Only the last one ends the wake, and it has the mentions of all.
func TestLongReply(t *testing.T) {
	t.Parallel()
	g := newGuild(t)
	g.Says(g.Channel, "tell me all")
	g.agent(`echo "<@alice>"; for i in 1 2 3; do head -c 10000 /dev/zero | tr '\0' $i; echo; done; echo /end`)
	got := g.AwaitAnswers(g.Channel, 1)
	if len(got) != 3 {
		t.Fatalf("got %d messages, want 3", len(got))
	}
	x := func(digit string) string { return strings.Repeat(digit, 10000) }
	for i, want := range []string{"<@alice>\n" + x("1"), x("2"), x("3") + "\n/end"} {
		if got[i].Content != want || got[i].Ends != (i == 2) {
			t.Errorf("message %d: got %.20q… of %d bytes (ends: %v)",
				i, got[i].Content, len(got[i].Content), got[i].Ends)
		}
	}
	var history struct {
		Items []struct{ MentionUserIDs []string }
	}
	path := "/api/channels/" + g.Channel + "/messages?limit=1"
	g.Do(http.MethodGet, path, g.Alice, nil, &history, http.StatusOK)
	if len(history.Items) != 1 || !slices.Equal(history.Items[0].MentionUserIDs, []string{"alice"}) {
		t.Errorf("got %+v, want alice mentioned by the last message, which wakes", history.Items)
	}
}

// The messages of a long reply may mention more users together than one message may. Such a reply is posted
// to its end, too.
func TestLongReplyWithManyMentions(t *testing.T) {
	t.Parallel()
	g := newGuild(t)
	g.Says(g.Channel, "tell everybody")
	g.agent(`for p in 1 2 3; do for i in $(seq 90); do echo "<@user-$p-$i>"; done; head -c 14000 /dev/zero |
		tr '\0' $p; echo; done`)
	got := g.AwaitAnswers(g.Channel, 1)
	if len(got) != 3 || !got[2].Ends {
		t.Errorf("got %d messages, want 3 of which the last one ends the wake", len(got))
	}
}

// A command that prints nothing ends the wake without a message.
func TestNoReply(t *testing.T) {
	t.Parallel()
	g := newGuild(t)
	g.Says(g.Channel, "thanks")
	r := g.agent(`echo ran >>runs; echo "  "`)
	g.awaitFile("runs", 1)
	g.awaitQueue("nothing is left", func(q queue) bool {
		return len(q.Pending)+len(q.Claimed)+len(q.Dead) == 0
	})
	if got := g.Answers(g.Channel); len(got) != 0 {
		t.Errorf("got %+v, want no answer", got)
	}
	r.Await("in #ops: the command printed nothing")
}

// A command whose messages are deleted meanwhile is ended, and posts nothing.
func TestDeletedMessages(t *testing.T) {
	t.Parallel()
	g := newGuild(t)
	one, two := g.Says(g.Channel, "count to infinity"), g.Says(g.Channel, "twice")
	r := g.agent(`trap "echo stopped >>runs; echo 17; exit 0" TERM; echo begun >>runs
		while :; do sleep 0.1; done`, "-lease", "5s")
	g.awaitFile("runs", 1)
	for _, id := range []string{one, two} {
		g.Do(http.MethodDelete, "/api/messages/"+id, g.Alice, nil, nil, http.StatusOK)
	}
	g.awaitFile("runs", 2)
	r.Await("its messages were deleted")
	g.awaitQueue("nothing is left", func(q queue) bool {
		return len(q.Pending)+len(q.Claimed)+len(q.Dead) == 0
	})
	if got := g.Answers(g.Channel); len(got) != 0 {
		t.Errorf("got %+v, want no answer", got)
	}
}

// What the command's exit code says about the wake.
func TestFailures(t *testing.T) {
	t.Parallel()
	const tooMuch = "the command printed more than 1 MiB"
	for name, tt := range map[string]struct {
		exec     string
		args     []string
		attempts int
		err      string
		dead     string // outcome and note
	}{
		"temporary": {exec: "echo later >&2; exit 75", err: "later"},
		"failed":    {exec: "echo one >&2; echo two >&2; exit 3", attempts: 1, err: "two"},
		"silent":    {exec: "exit 3", attempts: 1, err: "exit status 3"},
		"a signal":  {exec: "kill -SEGV $$", attempts: 1, err: "signal: segmentation fault"},
		"too slow": {
			exec: "echo x; sleep 600 & wait", args: []string{"-timeout", "200ms"}, attempts: 1,
			err: "the command took longer than 200ms",
		},
		"endless":          {exec: "yes", attempts: 1, err: tooMuch},
		"deaf and endless": {exec: "trap '' TERM; yes", attempts: 1, err: tooMuch},
		"no such command":  {exec: "./none", attempts: 1, err: "sh: 1: ./none: not found"},
		"refused reply":    {exec: "printf '<@u%d>' $(seq 201)", dead: "declined invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			if name != "failed" && name != "refused reply" {
				dbtest.Long(t)
			}
			t.Parallel()
			g := newGuild(t)
			g.Says(g.Channel, "hi")
			r := g.agent(tt.exec, tt.args...)
			q := g.awaitQueue("the wake is given back", func(q queue) bool {
				return len(q.Dead) == 1 || len(q.Pending) == 1 && q.Pending[0].NotBefore != ""
			})
			r.Stop()
			switch {
			case tt.dead != "":
				if len(q.Dead) != 1 || q.Dead[0].Outcome+" "+q.Dead[0].Note != tt.dead {
					t.Errorf("got %+v, want it dead: %s", q, tt.dead)
				}
			case q.Pending[0].Attempts != tt.attempts || q.Pending[0].Error != tt.err:
				t.Errorf("got %+v, want %d attempts and %q", q.Pending, tt.attempts, tt.err)
			}
			if got := g.Answers(g.Channel); len(got) != 0 {
				t.Errorf("got %+v, want no answer", got)
			}
		})
	}
}

// A command that prints too much when it is asked to stop posts nothing of it.
func TestStopWithTooMuchOutput(t *testing.T) {
	dbtest.Long(t)
	t.Parallel()
	g := newGuild(t)
	g.Says(g.Channel, "count to infinity")
	g.agent(`trap "head -c 2000000 /dev/zero | tr '\0' x; exit 0" TERM; echo begun >>runs
		while :; do sleep 0.1; done`, "-lease", "5s")
	g.awaitFile("runs", 1)
	who := map[string]any{"userId": "bob"}
	g.Do(http.MethodPost, "/api/channels/"+g.Channel+"/stop", g.Alice, who, nil, http.StatusNoContent)
	q := g.awaitQueue("it has ended", func(q queue) bool { return len(q.Pending)+len(q.Claimed) == 0 })
	if len(q.Dead) != 1 || q.Dead[0].Outcome != "stopped" {
		t.Errorf("got %+v, want it stopped", q)
	}
	if got := g.Answers(g.Channel); len(got) != 0 {
		t.Errorf("got %d messages, want none", len(got))
	}
}

// A worker that is asked to stop passes SIGTERM on to everything that its command has started.
func TestStop(t *testing.T) {
	t.Parallel()
	g := newGuild(t)
	g.Says(g.Channel, "count to infinity")
	const child = `trap "echo stopped >>runs; exit 1" TERM; echo begun >>runs; while :; do sleep 0.1; done`
	r := g.agent("sh -c '"+child+"'; exit 1", "-lease", "5s")
	g.awaitFile("runs", 1)
	who := map[string]any{"userId": "bob"}
	g.Do(http.MethodPost, "/api/channels/"+g.Channel+"/stop", g.Alice, who, nil, http.StatusNoContent)
	g.awaitFile("runs", 2)
	q := g.awaitQueue("it is stopped", func(q queue) bool { return len(q.Dead) == 1 })
	if got := q.Dead[0].Outcome; got != "stopped" || len(q.Pending)+len(q.Claimed) != 0 {
		t.Errorf("got %+v, want it stopped", q)
	}
	if r.Await("asked to stop"); strings.Contains(r.Err.String(), "paused") {
		t.Errorf("got %q, want no word of a pause: the wake does not come again", r.Err)
	}
}

// After a restart, the agent gets its work back at once. The earlier run, should it still live, drops the
// work.
func TestRestartTakesTheWorkOver(t *testing.T) {
	dbtest.Long(t)
	t.Parallel()
	g := newGuild(t)
	g.Says(g.Channel, "hi")
	const command = `
		if mkdir first; then
			trap 'echo dropped >>runs; exit 1' TERM
			echo begun >>runs
			while :; do sleep 0.1; done
		fi
		echo second`
	old := g.agent(command, "-lease", "15s")
	g.awaitFile("runs", 1)
	g.agent(command, "-lease", "15s")
	g.AwaitAnswers(g.Channel, 1)
	g.awaitFile("runs", 2)
	old.Await("dropping it")
	if got := g.Answers(g.Channel); len(got) != 1 || got[0].Content != "second" {
		t.Errorf("got %+v, want the answer of the second run", got)
	}
}

// After the first signal, the agent claims nothing more and lets the running command finish.
func TestSignal(t *testing.T) {
	t.Parallel()
	g := newGuild(t)
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		answers := len(g.Answers(g.Channel))
		g.write("runs", "")
		const command = `echo begun >>runs; until test -e go; do sleep 0.02; done; rm go; echo done`
		r := g.agent(command, "-channels", g.Channel)
		g.Says(g.Channel, "hi")
		g.awaitFile("runs", 1)
		r.Signal(s)
		r.Await("another signal kills")
		g.Says(g.NewChannel("other"), "too late")
		g.write("go", "")
		r.WantExit(0)
		if got := g.Answers(g.Channel); len(got) != answers+1 || g.file("runs") != "begun" {
			t.Errorf("%v: got %+v and %q, want one more answer", s, got, g.file("runs"))
		}
	}
	g.awaitQueue("the late messages wait", func(q queue) bool {
		return len(q.Pending) == 2 && q.Pending[0].Attempts == 0
	})
}

// The second signal kills the command. The attempt does not count. A terminal that closes sends SIGHUP twice.
func TestSecondSignal(t *testing.T) {
	dbtest.Long(t)
	t.Parallel()
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP} {
		g := newGuild(t)
		r := g.agent(`trap '' TERM; echo begun >>runs; while :; do sleep 0.1; done`)
		g.Says(g.Channel, "hi")
		g.awaitFile("runs", 1)
		r.Signal(s)
		r.Await("another signal kills")
		r.Signal(s)
		r.WantExit(0)
		q := g.queue()
		if len(q.Pending) != 1 || q.Pending[0].Attempts != 0 || len(q.Claimed) != 0 {
			t.Errorf("%v: got %+v, want the wake given back", s, q)
		}
	}
}

// With -parallel 2, two channels are worked on at once: each command waits for the other.
func TestParallel(t *testing.T) {
	dbtest.Long(t)
	t.Parallel()
	g := newGuild(t)
	other := g.NewChannel("other")
	const command = `echo x >$FABRIC_CONTENT; until test -e one -a -e two; do sleep 0.02; done; echo done`
	g.agent(command, "-parallel", "2")
	g.Says(g.Channel, "one")
	g.Says(other, "two")
	g.AwaitAnswers(g.Channel, 1)
	g.AwaitAnswers(other, 1)
}

// -channels and -limit choose what a command gets.
func TestChoice(t *testing.T) {
	dbtest.Long(t)
	t.Parallel()
	g := newGuild(t)
	other := g.NewChannel("other")
	for _, text := range []string{"a", "b", "c"} {
		g.Says(g.Channel, text)
		g.Says(other, text)
	}
	r := g.agent(`printf %s "$FABRIC_CONTENT" | tr a-z A-Z`, "-channels", other, "-limit", "2")
	var got []string
	for _, a := range g.AwaitAnswers(other, 2) {
		got = append(got, a.Content)
	}
	if diff := cmp.Diff([]string{"B", "C"}, got); diff != "" || len(g.Answers(g.Channel)) != 0 {
		t.Errorf("answers (-want +got):\n%s\nand %v in the other channel", diff, g.Answers(g.Channel))
	}
	r.Stop()
}
