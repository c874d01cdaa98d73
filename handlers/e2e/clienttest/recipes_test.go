package clienttest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"fabric-guild/handlers/config"
	"fabric-guild/handlers/e2e/guildtest"
)

// recipes is where the pages have their programs. The pages include the files as they are.
const recipes = "../../docs/recipes"

// oneLine matches the commands of docs/agents.md that are an agent each.
var oneLine = regexp.MustCompile("(?m)^ *(fabric-guild agent -exec .+)$")

// agents are the programs for authors of agents, each with the command that runs it in a directory with the
// files.
func agents(t *testing.T) map[string]string {
	t.Helper()
	for _, tool := range []string{"node", "python3", "curl", "jq"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is missing: apt-get install nodejs python3 curl jq", tool)
		}
	}
	all := map[string]string{
		"agent.mjs":  "exec node agent.mjs",
		"agent.py":   "exec python3 agent.py",
		"claim.sh":   "exec ./claim.sh",
		"plugin.mjs": "exec node plugin.mjs",
	}
	lines := oneLine.FindAllStringSubmatch(read(t, "../../docs/agents.md"), -1)
	if len(lines) < 2 {
		t.Fatalf("got %q in docs/agents.md, want two agents of one line", lines)
	}
	for i, m := range lines {
		all[fmt.Sprint("line ", i)] = "exec " + m[1]
	}
	return all
}

// kitchen is a directory with the files of all agents.
func kitchen(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, path := range map[string]string{
		"agent.mjs": recipes, "agent.py": recipes, "agent.sh": recipes, "claim.sh": recipes,
		"plugin.mjs": scripts,
	} {
		source := filepath.Join(path, strings.Replace(name, "plugin", "agent", 1))
		if err := os.WriteFile(filepath.Join(dir, name), []byte(read(t, source)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(program.Path, filepath.Join(dir, "fabric-guild")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// work starts an agent as bob, in a process group of its own.
func work(t *testing.T, w *guildtest.Workplace, dir, url, command string, env ...string) *guildtest.Running {
	t.Helper()
	r := program.Client(t, append(env, config.EnvPrefix+"TOKEN="+w.Bob, config.EnvPrefix+"URL="+url,
		"PATH="+dir+":"+os.Getenv("PATH")), "sh", "-c", command)
	r.Cmd.Dir = dir
	r.Cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r.Start(w.Bob)
	t.Cleanup(func() { _ = syscall.Kill(-r.Cmd.Process.Pid, syscall.SIGKILL) })
	return r
}

// Each agent of the pages answers each message once, while it and the server are killed at random, behind a
// proxy that loses answers.
func TestAgentsOfThePages(t *testing.T) {
	t.Parallel()
	for name, command := range agents(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := guildtest.NewWorkplace(t, program)
			dir := kitchen(t)
			url := guildtest.NewSpoiler(t, w.Base()).URL
			r := work(t, w, dir, url, command)
			said := 0
			for range 10 {
				for range 1 + rand.N(2) {
					w.Says(w.Channel, fmt.Sprintf("message %d <@bob>", said))
					said++
				}
				if rand.N(2) == 0 {
					left := w.Unanswered()
					guildtest.Eventually(t, "an answer", guildtest.Patience,
						func() bool { return left == 0 || w.Unanswered() < left })
				}
				switch rand.N(4) {
				case 0:
					w.KillServer()
				case 1:
					_ = syscall.Kill(-r.Cmd.Process.Pid, syscall.SIGKILL)
					r.WantExit(-1)
					r = work(t, w, dir, url, command)
				}
			}
			w.AwaitEachAnsweredOnce()
			answers := w.Answers(w.Channel)
			for _, a := range answers {
				if !strings.HasPrefix(a.Content, "MESSAGE ") || !strings.HasSuffix(a.Content, " <@BOB>") ||
					a.ReplyTo == "" {
					t.Errorf("got the answer %+v", a)
				}
			}
			t.Logf("%d messages in %d answers", said, len(answers))
		})
	}
}

// A reply that is too long is declined, however long: no agent of the pages goes on with it forever.
func TestAgentsOfThePagesReplyTooLong(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"agent.mjs", "agent.py", "claim.sh", "plugin.mjs"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := guildtest.NewWorkplace(t, program)
			for range 10 {
				w.Says(w.Channel, strings.Repeat("x", 16000))
			}
			work(t, w, kitchen(t), w.Base(), agents(t)[name])
			guildtest.Eventually(t, "the reply is declined", guildtest.Patience, func() bool {
				var q struct{ Dead []struct{ Outcome string } }
				w.Do("GET", "/api/wakes", w.Bob, nil, &q, 200)
				return len(q.Dead) == 1 && q.Dead[0].Outcome == "declined"
			})
		})
	}
}

// A reply may begin with a slash, as a path does. It is text, not a command.
func TestAgentsOfThePagesReplyWithASlash(t *testing.T) {
	t.Parallel()
	for name, command := range agents(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := guildtest.NewWorkplace(t, program)
			work(t, w, kitchen(t), w.Base(), command)
			w.Says(w.Channel, "//var is full\n/tmp too")
			if got := w.AwaitAnswers(w.Channel, 1)[0].Content; got != "/VAR IS FULL\n/TMP TOO" {
				t.Errorf("got %q, want the path as it is", got)
			}
		})
	}
}

// The model for plugins stops when a member asks it to, lets its work finish at the first signal, and gives
// it back at the second.
func TestPluginStops(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("node is missing: apt-get install nodejs")
	}
	w := guildtest.NewWorkplace(t, program)
	dir := kitchen(t)
	var q struct{ Claimed, Pending, Dead []struct{ Outcome string } }
	await := func(what string, is func() bool) {
		t.Helper()
		guildtest.Eventually(t, what, guildtest.Patience, func() bool {
			q.Claimed, q.Pending, q.Dead = nil, nil, nil
			w.Do("GET", "/api/wakes", w.Bob, nil, &q, 200)
			return is()
		})
	}
	const plugin = "exec node plugin.mjs"

	long := work(t, w, dir, w.Base(), plugin, "THINK_MS=600000")
	w.Says(w.Channel, "count to infinity")
	long.Await("working on 1 messages")
	w.Do("POST", "/api/channels/"+w.Channel+"/stop", w.Alice, map[string]any{"userId": "bob"}, nil, 204)
	await("it stopped", func() bool { return len(q.Dead) == 1 && q.Dead[0].Outcome == "stopped" })

	w.Says(w.Channel, "again")
	guildtest.Eventually(t, "it works again", guildtest.Patience, func() bool {
		return strings.Count(long.Err.String(), "working on") == 2
	})
	long.Signal(syscall.SIGTERM)
	long.Signal(syscall.SIGINT)
	long.WantExit(0)
	await("it gave the work back", func() bool { return len(q.Pending) == 1 && len(q.Claimed) == 0 })

	short := work(t, w, dir, w.Base(), plugin, "THINK_MS=1000")
	short.Await("working on 1 messages")
	short.Stop()
	if got := w.Answers(w.Channel); len(got) != 1 || got[0].Content != "AGAIN" {
		t.Errorf("got %+v, want that the work was finished", got)
	}
}
