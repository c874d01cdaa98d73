package tail_test

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"fabric-guild/db/dbtest"
	"fabric-guild/events"
	"fabric-guild/handlers/config"
	"fabric-guild/handlers/guildtest"
)

var program guildtest.Program

func TestMain(m *testing.M) { os.Exit(program.Main(m, config.EnvPrefix)) }

// A guild is a server with alice, who writes into a channel, and bob, whose stream is followed.
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
	g := &guild{Node: n, state: state, alice: n.Token("alice"), bob: n.Token("bob")}
	var made struct{ Channel struct{ ID string } }
	g.call(t, "/api/channels", map[string]any{"guildId": "g1", "name": "ops", "xType": "general", "memberUserIds": []string{"bob"}}, &made)
	g.channel = made.Channel.ID
	settled := g.tail(t, "", nil) // a stream that begins now may begin just before it
	guildtest.Eventually(t, "the channel is there", guildtest.Patience, func() bool { return strings.Contains(settled.out.String(), g.channel) })
	settled.stop()
	return g
}

func (g *guild) call(t *testing.T, path string, body, answer any) {
	t.Helper()
	if status, err := guildtest.Call(t.Context(), http.MethodPost, g.Base()+path, g.alice, body, answer); err != nil || status != http.StatusCreated {
		t.Fatalf("got %d and %v for %s, want 201", status, err, path)
	}
}

// post sends a message of alice's, and returns its cursor.
func (g *guild) post(t *testing.T, content string) (cursor string) {
	t.Helper()
	var answer struct{ Cursor string }
	g.call(t, "/api/channels/"+g.channel+"/messages", map[string]any{"content": content}, &answer)
	return answer.Cursor
}

// A process is the program as tail.
type process struct {
	t        *testing.T
	cmd      *exec.Cmd
	out, err *guildtest.Text
	ended    chan struct{}
}

// tail starts the command with bob's token in the environment, unless env has another.
func (g *guild) tail(t *testing.T, dir string, env []string, args ...string) *process {
	t.Helper()
	return g.start(t, dir, env, program.Path, append([]string{"tail"}, args...)...)
}

// start runs a program in the environment of tail. It is killed with the test, and bob's token must not be in
// what it writes.
func (g *guild) start(t *testing.T, dir string, env []string, name string, args ...string) *process {
	t.Helper()
	p := newProcess(t, append(g.environment(), env...), name, args...)
	p.cmd.Dir = dir
	p.start(g.bob)
	return p
}

// tailInto is tail with this stdout, which it closes here.
func (g *guild) tailInto(t *testing.T, dir string, out *os.File, args ...string) *process {
	t.Helper()
	p := newProcess(t, g.environment(), program.Path, append([]string{"tail"}, args...)...)
	p.cmd.Dir, p.cmd.Stdout = dir, out
	p.start(g.bob)
	_ = out.Close()
	return p
}

func (g *guild) environment() []string {
	return []string{config.EnvPrefix + "TOKEN=" + g.bob, config.EnvPrefix + "URL=" + g.Base()}
}

func newProcess(t *testing.T, env []string, name string, args ...string) *process {
	p := &process{t: t, out: &guildtest.Text{}, err: &guildtest.Text{}, ended: make(chan struct{})}
	p.cmd = exec.CommandContext(t.Context(), name, args...)
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = program.Environment(env), p.out, p.err
	return p
}

func (p *process) start(secret string) {
	p.t.Helper()
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait()
	}()
	p.t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
		if strings.Contains(p.out.String()+p.err.String(), secret) {
			p.t.Error("got the token in the output, want it nowhere")
		}
		if p.t.Failed() {
			p.t.Logf("tail's own words:\n%s", p.err)
		}
	})
}

func (p *process) hasEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// await waits for a text on stderr.
func (p *process) await(text string) {
	p.t.Helper()
	guildtest.Eventually(p.t, "tail says "+text, guildtest.Patience, func() bool { return strings.Contains(p.err.String(), text) })
}

func (p *process) awaitLines(n int) {
	p.t.Helper()
	guildtest.Eventually(p.t, "lines", guildtest.Patience, func() bool { return strings.Count(p.out.String(), "\n") >= n })
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Error(err)
	}
}

// wantExit waits for the end, and for this code; -1 is a signal's.
func (p *process) wantExit(code int) {
	p.t.Helper()
	guildtest.Eventually(p.t, "tail ends", guildtest.Patience, p.hasEnded)
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		p.t.Errorf("got exit %d, want %d: %s", got, code, p.err)
	}
}

// stop ends it in order.
func (p *process) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	p.wantExit(0)
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
			break // it is still being written
		}
		var o object
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Errorf("got %v for %q, want an object in each line", err, line)
		}
		all = append(all, o)
	}
	return all
}

// names are the events' kinds, and of messages the content.
func names(all []object) (names []string) {
	for _, o := range all {
		var m struct{ Content string }
		_ = json.Unmarshal(o.Data, &m)
		names = append(names, strings.TrimSpace(o.Event+" "+m.Content))
	}
	return names
}

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

func seq(t *testing.T, cursor string) int64 {
	t.Helper()
	c, err := events.ParseCursor(cursor)
	if err != nil {
		t.Fatalf("got %v for %q", err, cursor)
	}
	return c.Seq
}

// lookPath skips a test that needs a program which is not there.
func lookPath(t *testing.T, program, debian string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("%s is missing: apt-get install %s", program, debian)
	}
}
