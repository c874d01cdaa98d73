package agent_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fabric-guild/handlers/config"
	"fabric-guild/handlers/e2e/guildtest"
)

var program guildtest.Program

func TestMain(m *testing.M) { os.Exit(program.Main(m, config.EnvPrefix)) }

// A guild is a server with alice and bob. bob's agents work in dir.
type guild struct {
	*guildtest.Workplace
	t   *testing.T
	dir string
}

func newGuild(t *testing.T) *guild {
	t.Helper()
	return &guild{guildtest.NewWorkplace(t, program), t, t.TempDir()}
}

// agent starts bob's agent. It blocks until the agent has made its first claim.
func (g *guild) agent(exec string, args ...string) *guildtest.Running {
	g.t.Helper()
	r := g.launch(nil, append(args, "-exec", exec)...)
	r.Await("claiming wakes from ")
	return r
}

// launch starts bob's agent with these arguments. env is added to the environment.
func (g *guild) launch(env []string, args ...string) *guildtest.Running {
	g.t.Helper()
	r := g.prepare(env, args...)
	r.Start(g.Bob)
	return r
}

// prepare is like launch, but does not start the agent.
func (g *guild) prepare(env []string, args ...string) *guildtest.Running {
	env = append([]string{config.EnvPrefix + "TOKEN=" + g.Bob, config.EnvPrefix + "URL=" + g.Base()}, env...)
	r := program.Client(g.t, env, program.Path, append([]string{"agent"}, args...)...)
	r.Cmd.Dir = g.dir
	return r
}

// queue is what bob's queue has.
type queue struct{ Pending, Claimed, Dead []item }

type item struct {
	Attempts             int
	Outcome, Note, Error string
	NotBefore            string
}

func (g *guild) queue() (q queue) {
	g.t.Helper()
	g.Do(http.MethodGet, "/api/wakes", g.Bob, nil, &q, http.StatusOK)
	return q
}

// awaitQueue blocks until the queue is as is says, and returns it.
func (g *guild) awaitQueue(what string, is func(queue) bool) (q queue) {
	g.t.Helper()
	guildtest.Eventually(g.t, "the queue: "+what, guildtest.Patience, func() bool {
		q = g.queue()
		return is(q)
	})
	return q
}

// file returns the content of a file in dir, without the last line end, or "" if it does not exist.
func (g *guild) file(name string) string {
	b, _ := os.ReadFile(filepath.Join(g.dir, name))
	return strings.TrimSuffix(string(b), "\n")
}

// awaitFile blocks until a file in dir has n lines.
func (g *guild) awaitFile(name string, n int) {
	g.t.Helper()
	guildtest.Eventually(g.t, name+" is written", guildtest.Patience, func() bool {
		b, _ := os.ReadFile(filepath.Join(g.dir, name))
		return strings.Count(string(b), "\n") >= n
	})
}

func (g *guild) write(name, content string) {
	g.t.Helper()
	if err := os.WriteFile(filepath.Join(g.dir, name), []byte(content), 0o600); err != nil {
		g.t.Fatal(err)
	}
}
