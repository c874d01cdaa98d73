package command

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers/e2e/guildtest"
)

func TestStartUpCommands(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("the commands are curl's, which is not installed")
	}
	database := dbtest.New(t)
	for name, dirs := range map[string][2]string{
		"absolute": {program.Path, guildtest.StateDir(t)},
		"relative": {"./fabric-guild", "state"},
		"awkward":  {"./a program", "it's a state"},
	} {
		t.Run(name, func(t *testing.T) {
			if name != "awkward" {
				dbtest.Long(t) // "awkward" is fast, and is relative too
			}
			t.Parallel()
			dir := guildtest.StateDir(t)
			if !filepath.IsAbs(dirs[0]) {
				if err := os.Symlink(program.Path, filepath.Join(dir, dirs[0])); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.Command(dirs[0], "-state", dirs[1], "-addr", "127.0.0.1:0", "-database-url", database)
			cmd.Dir = dir
			tryStartUpCommands(t, program.Launch(t, dirs[1], nil, cmd))
		})
	}
}

func tryStartUpCommands(t *testing.T, n *guildtest.Node) {
	t.Helper()
	run := func(what, channel, want string) string {
		script := n.Printed(what, channel)
		out, ended := n.Shell(script)
		err := <-ended
		m := regexp.MustCompile(want).FindStringSubmatch(out.String())
		if err != nil || m == nil {
			t.Fatalf("%s: got %v and %q, want %s", script, err, out, want)
		}
		return m[1]
	}
	stream, ended := n.Shell(n.Printed("stream", "") + "\nwait")
	guildtest.Eventually(t, "a stream, or why there is none", guildtest.Patience, func() bool {
		return strings.Contains(stream.String(), "event: stream.ready\n") || len(ended) > 0
	})
	channel := run("channel", "", `"id":"([0-9a-f-]{36})"`)
	// Without exec, the end of the shell would leave the agent behind.
	agent := strings.Replace(n.Printed("agent", ""), "\nFABRIC", "\nexec env FABRIC", 1)
	working, _ := n.Shell(strings.TrimSuffix(agent, " &"))
	guildtest.Eventually(t, "the agent claims", guildtest.Patience, func() bool {
		return strings.Contains(working.String(), "claiming wakes from ")
	})
	run("message", channel, `"wakeups":\[\{"userId":"(bob)"`)
	history := n.Printed("tokens", "") + "\ncurl -s -H \"Authorization: Bearer $ALICE\" " + n.Base() +
		"/api/channels/" + channel + "/messages"
	guildtest.Eventually(t, "the agent answers", guildtest.Patience, func() bool {
		out, ended := n.Shell(history)
		return <-ended == nil && strings.Contains(out.String(), `"content":"HI <@BOB>"`)
	})
	guildtest.Eventually(t, "the stream tells of both", guildtest.Patience, func() bool {
		return strings.Contains(stream.String(), "event: channel.joined\n") &&
			strings.Contains(stream.String(), "event: message.created\n")
	})
	n.Stop()
	if err := <-ended; err != nil || !strings.Contains(stream.String(), "event: stream.closing\n") {
		t.Errorf("got %v and %q, want a stream that was closed in order", err, stream)
	}
}
