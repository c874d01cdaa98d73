package streamtest_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fabric-guild/db/dbtest"
	"fabric-guild/events/ssetest"
	"fabric-guild/handlers/e2e/nodetest"
)

// middlebox is the same node behind an nginx that holds answers back until a buffer of 4 KiB is full, and
// does not care that it is asked not to.
func middlebox(t *testing.T, n *nodetest.Node) (*nodetest.Node, *http.Transport) {
	t.Helper()
	dbtest.Long(t)
	program, err := exec.LookPath("nginx")
	if err != nil {
		program = "/usr/sbin/nginx" // not on everyone's PATH
	}
	if _, err := os.Stat(program); err != nil {
		t.Skip("there is no nginx: apt-get install nginx-light")
	}
	dir := t.TempDir()
	socket := filepath.Join(dir, "s")
	var paths strings.Builder
	for _, name := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&paths, "%s_temp_path %s/%s;\n", name, dir, name)
	}
	conf := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log %[1]s/error.log;
		events {}
		http {
			access_log off;
			%[2]s
			server {
				listen unix:%[3]s;
				location / {
					proxy_pass http://%[4]s;
					proxy_http_version 1.1;
					proxy_ignore_headers X-Accel-Buffering;
					proxy_buffer_size 4k;
					proxy_buffers 8 4k;
				}
			}
		}`, dir, paths.String(), socket, strings.TrimPrefix(n.URL, "http://"))
	file := filepath.Join(dir, "conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	nginx := exec.Command(program, "-p", dir, "-c", file, "-e", filepath.Join(dir, "error.log"))
	nginx.Stderr = t.Output()
	if err := nginx.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = nginx.Process.Kill()
		_ = nginx.Wait() // says no more than that it was killed
	})
	through := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	t.Cleanup(through.CloseIdleConnections)
	if !ssetest.Await(func() bool {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}) {
		log, _ := os.ReadFile(filepath.Join(dir, "error.log"))
		t.Fatalf("nginx does not start: %s", log)
	}
	behind := *n
	behind.URL = "http://nginx"
	return &behind, through
}

// What a middlebox holds back padding pushes on, event for event, and a long poll does not need any.
func TestAMiddleboxThatBuffersAnswers(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	behind, through := middlebox(t, n)
	alice, bob := n.User("alice"), n.User("bob")
	ops := bob.General(t, "ops", "alice")
	n.Settle(t)
	dial := func(query string, headers ...string) (*nodetest.Stream, error) {
		l := &nodetest.Line{}
		l.DialContext, l.DisableCompression = through.DialContext, true
		return alice.At(behind).Dial(l, query, headers...)
	}
	held := make(chan struct{})
	bare, hangUp := context.WithCancel(t.Context())
	go func() {
		defer close(held)
		r, err := http.NewRequestWithContext(bare, "GET", behind.URL+"/api/stream", nil)
		if err != nil {
			t.Error(err)
			return
		}
		r.Header.Set("Authorization", "Bearer "+alice.Token)
		if resp, err := through.RoundTrip(r); err == nil {
			_ = resp.Body.Close()
		}
	}()
	t.Cleanup(func() { hangUp(); <-held })

	events, err := dial("?padding=4096")
	if err == nil {
		err = events.Begin()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	nodetest.Data[nodetest.ReadyData](t, events.Next(t), "stream.ready")
	lines, err := dial("?padding=4096", "Accept", ndjson)
	if err != nil {
		t.Fatal(err)
	}
	defer lines.Close()
	if f := nextLine(t, lines); f.Event != "stream.ready" {
		t.Errorf("got %+v, want stream.ready", f)
	}
	at := ops.Cursor
	for i := range 3 {
		polled := make(chan nodetest.PollData, 1)
		go func() {
			p, err := alice.At(behind).PollOver(t.Context(), through, "wait=60&after="+at)
			if err != nil {
				t.Error(err)
			}
			polled <- p
		}()
		said := bob.Post(t, ops.Channel.ID, fmt.Sprint(i))
		if f := events.Next(t); f.ID != said.Cursor {
			t.Errorf("got %+v, want the message at %s", f, said.Cursor)
		}
		if f := nextLine(t, lines); f.ID != said.Cursor {
			t.Errorf("got %+v, want the message at %s", f, said.Cursor)
		}
		select {
		case p := <-polled:
			if p.Cursor != said.Cursor || len(p.Items) != 1 {
				t.Errorf("got %q, want the message at %s", p.Shown(), said.Cursor)
			}
		case <-time.After(ssetest.Patience):
			t.Fatal("the poll is not answered")
		}
		at = said.Cursor
	}
	if isClosed(held) {
		t.Error("a stream without padding came through: this tells nothing")
	}
}
