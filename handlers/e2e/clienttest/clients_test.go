package clienttest

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"fabric-guild/handlers/e2e/guildtest"
)

// A client follows the stream at a URL until the test ends, and calls hear for each event. It works by itself
// or with the help that its row in docs/clients.md describes.
type client struct {
	name   string
	follow func(t *testing.T, url, token string, hear func(event))
}

// An event is an event as an application gets it.
type event struct {
	Event string
	ID    string
	Data  json.RawMessage
}

var clients = []client{
	{"curl", script("bash", "curl.sh")},
	{"npm eventsource 2", script("node", "eventsource2.mjs")},
	{"npm eventsource 3", script("node", "eventsource3.mjs")},
	{"npm eventsource 4", script("node", "eventsource4.mjs")},
	{"npm eventsource-client", script("node", "eventsource-client.mjs")},
	{"npm launchdarkly-eventsource", script("node", "launchdarkly.mjs")},
	{"npm undici", script("node", "undici.mjs")},
	{"npm @microsoft/fetch-event-source", script("node", "fetch-event-source.mjs")},
	{"go r3labs/sse", r3labs(wholeFrames{})},
	{"go tmaxmax/go-sse", tmaxmax(wholeFrames{})},
	{"go launchdarkly/eventsource", launchdarkly},
	{"Chromium", chromium},
}

const scripts = "../../../testdata/clients"

// script returns a client that is a script in testdata/clients. The script writes a line of JSON for each
// event.
func script(interpreter, name string) func(*testing.T, string, string, func(event)) {
	return func(t *testing.T, url, token string, hear func(event)) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), interpreter, name, url)
		cmd.Dir = scripts
		cmd.Env = append(os.Environ(), "TOKEN="+token)
		// The script has children, which must end with it.
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
		var errs guildtest.Text
		cmd.Stderr = &errs
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		t.Cleanup(func() {
			<-done
			if t.Failed() {
				t.Logf("%s: stderr of the client: %s", name, errs.String())
			}
		})
		go func() {
			defer close(done)
			lines := bufio.NewScanner(out)
			lines.Buffer(nil, 1<<20)
			for lines.Scan() {
				var e event
				if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
					t.Errorf("%s: %v in %q", name, err, lines.Text())
					continue
				}
				hear(e)
			}
			_, _ = io.Copy(io.Discard, out)
			if err := cmd.Wait(); t.Context().Err() == nil {
				t.Errorf("%s: the client ended with %v, want it to follow until the test ends", name, err)
			}
		}()
	}
}

// need skips the test if a program that the clients need is not installed.
func need(t *testing.T) {
	t.Helper()
	for _, program := range []string{"node", "curl", "bash", "chromium"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("the clients need %s, which is not installed: apt install npm curl bash chromium",
				program)
		}
	}
	if _, err := os.Stat(filepath.Join(scripts, "node_modules")); err != nil {
		t.Skip("the clients for Node are not installed: npm ci --prefix testdata/clients")
	}
}
