package openclawtest

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"fabric-guild/handlers/e2e/guildtest"
)

const installed = "../../../testdata/openclaw/node_modules"

// need returns the paths of Node and OpenClaw, or skips the test.
func need(t *testing.T) (node, openclaw string) {
	t.Helper()
	arch := map[string]string{"amd64": "x64"}[runtime.GOARCH]
	if arch == "" {
		arch = runtime.GOARCH
	}
	node, _ = filepath.Abs(filepath.Join(installed, "node-linux-"+arch, "bin", "node"))
	openclaw, _ = filepath.Abs(filepath.Join(installed, "openclaw", "openclaw.mjs"))
	for _, path := range []string{node, openclaw} {
		if _, err := os.Stat(path); err != nil {
			t.Skip("OpenClaw is not installed: npm ci --ignore-scripts --prefix testdata/openclaw")
		}
	}
	return node, openclaw
}

// A gateway is OpenClaw with an empty state, with the plugin as `fabric-guild openclaw install` writes it.
type gateway struct {
	t              testing.TB
	node, openclaw string
	dir            string
	port           int
	log            *guildtest.Text
	cmd            *exec.Cmd
	ended          chan struct{}
}

func newGateway(t *testing.T, guildURL, token string, m *model) *gateway {
	node, openclaw := need(t)
	g := &gateway{t: t, node: node, openclaw: openclaw, dir: t.TempDir(), port: freePort(t)}
	plugin := filepath.Join(g.dir, "plugin")
	if _, stderr, code := program.Run(t, nil, "openclaw", "install", "-to", plugin); code != 0 {
		t.Fatalf("got exit %d and %q", code, stderr)
	}
	tokenFile := filepath.Join(g.dir, "token")
	if err := os.WriteFile(tokenFile, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	type object = map[string]any
	free := object{"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0}
	fake := object{
		"id": "fake", "name": "Fake", "reasoning": false, "input": []string{"text"},
		"contextWindow": 128000, "maxTokens": 4096, "cost": free,
	}
	provider := object{
		"baseUrl": m.URL + "/v1", "apiKey": "none", "api": "openai-completions", "models": []any{fake},
	}
	config := object{
		"gateway": object{
			"mode": "local", "port": g.port, "bind": "loopback",
			"auth": object{"mode": "token", "token": "gateway"}, "controlUi": object{"enabled": false},
		},
		"update": object{"checkOnStart": false}, "telemetry": object{"enabled": false},
		"agents": object{"defaults": object{
			"workspace": filepath.Join(g.dir, "workspace"), "skipBootstrap": true,
			"model": object{"primary": "fake/fake"}, "heartbeat": object{"every": "0m"},
			"silentReply": object{"group": "allow"}, "maxConcurrent": 8,
		}},
		"models": object{
			"mode": "replace", "catalogRefresh": object{"enabled": false},
			"providers": object{"fake": provider},
		},
		"plugins": object{
			"load": object{"paths": []string{plugin}}, "allow": []string{"fabric"},
			"entries": object{"fabric": object{"enabled": true}}, "slots": object{"memory": "none"},
		},
		"channels": object{"fabric": object{
			"enabled": true, "url": guildURL, "tokenFile": tokenFile, "concurrency": 8,
		}},
	}
	b, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(g.dir, "openclaw.json"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	return g
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// start starts the gateway and blocks until its channels are up. On a slow machine the gateway may give up,
// because a process of its own did not start within five seconds. Then start starts it again.
func (g *gateway) start() {
	g.t.Helper()
	for !g.tryStart() {
		g.t.Log("the gateway gave up, and is started again")
	}
}

// tryStart is one start. It returns false if the gateway gave up.
func (g *gateway) tryStart() (started bool) {
	g.t.Helper()
	g.log, g.ended = &guildtest.Text{}, make(chan struct{})
	g.cmd = exec.Command(g.node, g.openclaw, "gateway", "run", "--port", fmt.Sprint(g.port))
	g.cmd.Env = append(program.Environment(nil),
		"HOME="+g.dir, "OPENCLAW_STATE_DIR="+g.dir,
		"OPENCLAW_CONFIG_PATH="+filepath.Join(g.dir, "openclaw.json"), "OPENCLAW_NO_RESPAWN=1",
		"OPENCLAW_DISABLE_BONJOUR=1", "OPENCLAW_NO_AUTO_UPDATE=1", "DO_NOT_TRACK=1")
	g.cmd.Stdout, g.cmd.Stderr = g.log, g.log
	cmd, ended := g.cmd, g.ended
	if err := cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	g.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	started = true
	what := "the gateway is ready"
	guildtest.Eventually(g.t, what, 3*guildtest.Patience, func() bool {
		select {
		case <-ended:
			if strings.Contains(g.log.String(), "state lease heartbeat did not become ready") {
				started = false
				return true
			}
			g.t.Fatalf("the gateway ended at the start: %s", g.log)
		default:
		}
		answer, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/readyz", g.port))
		if err != nil {
			return false
		}
		defer func() { _ = answer.Body.Close() }()
		var state struct{ Ready bool }
		return json.NewDecoder(answer.Body).Decode(&state) == nil && state.Ready
	})
	return started
}

// end sends a signal to the gateway. wait blocks until the gateway has ended.
func (g *gateway) end(signal syscall.Signal) (wait func()) {
	g.t.Helper()
	if err := g.cmd.Process.Signal(signal); err != nil {
		g.t.Fatal(err)
	}
	return func() {
		g.t.Helper()
		gone := func() bool {
			select {
			case <-g.ended:
				return true
			default:
				return false
			}
		}
		guildtest.Eventually(g.t, "the gateway ends", guildtest.Patience, gone)
	}
}

// lastLines returns the end of the gateway's log.
func (g *gateway) lastLines() string {
	lines := strings.Split(g.log.String(), "\n")
	return strings.Join(lines[max(0, len(lines)-60):], "\n")
}
