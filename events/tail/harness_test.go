package tail_test

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fabric-guild/db/dbtest"
	"fabric-guild/events"
	"fabric-guild/handlers/config"
	"fabric-guild/handlers/e2e/guildtest"
)

var program guildtest.Program

func TestMain(m *testing.M) { os.Exit(program.Main(m, config.EnvPrefix)) }

// A guild is a server with two users: alice writes into a channel, and tail follows bob's stream.
type guild struct {
	*guildtest.Node
	state      string
	alice, bob string // their tokens
	channel    string
}

func newGuild(t *testing.T) *guild {
	t.Helper()
	state := guildtest.StateDir(t)
	n := program.Start(t, state, "-database-url", dbtest.New(t))
	tokens := n.Tokens("alice", "bob")
	g := &guild{Node: n, state: state, alice: tokens[0], bob: tokens[1]}
	var made struct{ Channel struct{ ID string } }
	channel := map[string]any{
		"guildId": "g1", "name": "ops", "xType": "general", "memberUserIds": []string{"bob"},
	}
	g.call(t, "/api/channels", channel, &made)
	g.channel = made.Channel.ID
	// A stream that opens at once may begin just before the channel was made. Wait until a stream shows the
	// channel.
	settled := g.tail(t, "", nil)
	guildtest.Eventually(t, "the stream shows the channel", guildtest.Patience, func() bool {
		return strings.Contains(settled.Out.String(), g.channel)
	})
	settled.Stop()
	return g
}

// call makes a POST request as alice and wants the status 201.
func (g *guild) call(t *testing.T, path string, body, answer any) {
	t.Helper()
	g.request(t, http.MethodPost, path, g.alice, body, answer, http.StatusCreated)
}

// request makes a request and ends the test unless the status is want.
func (g *guild) request(t *testing.T, method, path, token string, body, answer any, want int) {
	t.Helper()
	status, err := guildtest.Call(t.Context(), method, g.Base()+path, token, body, answer)
	if err != nil || status != want {
		t.Fatalf("got %d and %v for %s, want %d", status, err, path, want)
	}
}

// post posts a message as alice and returns its cursor.
func (g *guild) post(t *testing.T, content string) (cursor string) {
	t.Helper()
	var answer struct{ Cursor string }
	g.call(t, "/api/channels/"+g.channel+"/messages", map[string]any{"content": content}, &answer)
	return answer.Cursor
}

// tail starts the command in dir, with bob's token in the environment unless env has another.
func (g *guild) tail(t *testing.T, dir string, env []string, args ...string) *guildtest.Running {
	t.Helper()
	return g.start(t, dir, env, program.Path, append([]string{"tail"}, args...)...)
}

// start runs a program in the environment of tail. At the end of the test the program is killed. The test
// fails if bob's token is in its output.
func (g *guild) start(
	t *testing.T, dir string, env []string, name string, args ...string,
) *guildtest.Running {
	t.Helper()
	p := program.Client(t, append(g.environment(), env...), name, args...)
	p.Cmd.Dir = dir
	p.Start(g.bob)
	return p
}

// tailInto is like tail, but with this stdout. It closes out in this process.
func (g *guild) tailInto(t *testing.T, dir string, out *os.File, args ...string) *guildtest.Running {
	t.Helper()
	p := program.Client(t, g.environment(), program.Path, append([]string{"tail"}, args...)...)
	p.Cmd.Dir = dir
	p.Cmd.Stdout = out
	p.Start(g.bob)
	_ = out.Close()
	return p
}

func (g *guild) environment() []string {
	return []string{config.EnvPrefix + "TOKEN=" + g.bob, config.EnvPrefix + "URL=" + g.Base()}
}

// An object is one line of the output for programs.
type object struct {
	ID, Event string
	Data      json.RawMessage
}

func objects(t *testing.T, out string) (all []object) {
	t.Helper()
	for line := range strings.Lines(out) {
		if !strings.HasSuffix(line, "\n") {
			break // tail is still writing this line
		}
		var o object
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Errorf("got %v for %q, want a JSON object in each line", err, line)
		}
		all = append(all, o)
	}
	return all
}

// names returns the kind of each event, and for a message also the content.
func names(all []object) (names []string) {
	for _, o := range all {
		var m struct{ Content string }
		_ = json.Unmarshal(o.Data, &m)
		names = append(names, strings.TrimSpace(o.Event+" "+m.Content))
	}
	return names
}

// messages returns only the messages.
func messages(all []object) []object {
	return slices.DeleteFunc(slices.Clone(all), func(o object) bool { return o.Event != "message.created" })
}

func readFile(t *testing.T, path ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(string(b), "\n")
}

func writeFile(t *testing.T, content string, path ...string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(path...), []byte(content), 0o700); err != nil {
		t.Fatal(err)
	}
}

func exists(path ...string) bool {
	_, err := os.Stat(filepath.Join(path...))
	return err == nil
}

// seq returns the number in a cursor.
func seq(t *testing.T, cursor string) int64 {
	t.Helper()
	c, err := events.ParseCursor(cursor)
	if err != nil {
		t.Fatalf("got %v for %q", err, cursor)
	}
	return c.Seq
}

// lookPath skips the test if the program is not installed. debian is the name of its package.
func lookPath(t *testing.T, program, debian string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("%s is missing: apt-get install %s", program, debian)
	}
}
