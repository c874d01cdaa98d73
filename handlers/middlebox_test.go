package handlers_test

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
)

// middlebox is the same node behind an nginx that holds answers back until a buffer of 4 KiB is full, and does
// not care that it is asked not to.
func middlebox(t *testing.T, n *node) (*node, *http.Transport) {
	t.Helper()
	long(t)
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
		}`, dir, paths.String(), socket, strings.TrimPrefix(n.url, "http://"))
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
	if !eventually(func() bool {
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
	behind.url = "http://nginx"
	return &behind, through
}

// What a middlebox holds back padding pushes on, event for event, and a long poll does not need any.
func TestAMiddleboxThatBuffersAnswers(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	behind, through := middlebox(t, n)
	alice, bob := n.user("alice"), n.user("bob")
	ops := bob.general(t, "ops", "alice")
	n.settle(t)
	dial := func(query string, headers ...string) (*stream, error) {
		l := &line{}
		l.DialContext, l.DisableCompression = through.DialContext, true
		return alice.at(behind).dial(l, query, headers...)
	}
	held := make(chan struct{})
	bare, hangUp := context.WithCancel(t.Context())
	go func() {
		defer close(held)
		r, err := http.NewRequestWithContext(bare, "GET", behind.url+"/api/stream", nil)
		if err != nil {
			t.Error(err)
			return
		}
		r.Header.Set("Authorization", "Bearer "+alice.token)
		if resp, err := through.RoundTrip(r); err == nil {
			_ = resp.Body.Close()
		}
	}()
	t.Cleanup(func() { hangUp(); <-held })

	events, err := dial("?padding=4096")
	if err == nil {
		err = events.begin()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer events.close()
	data[readyData](t, events.next(t), "stream.ready")
	lines, err := dial("?padding=4096", "Accept", ndjson)
	if err != nil {
		t.Fatal(err)
	}
	defer lines.close()
	if f := lines.nextLine(t); f.event != "stream.ready" {
		t.Errorf("got %+v, want stream.ready", f)
	}
	at := ops.Cursor
	for i := range 3 {
		polled := make(chan pollData, 1)
		go func() {
			p, err := alice.at(behind).pollOver(t.Context(), through, "wait=60&after="+at)
			if err != nil {
				t.Error(err)
			}
			polled <- p
		}()
		said := bob.post(t, ops.Channel.ID, fmt.Sprint(i))
		if f := events.next(t); f.id != said.Cursor {
			t.Errorf("got %+v, want the message at %s", f, said.Cursor)
		}
		if f := lines.nextLine(t); f.id != said.Cursor {
			t.Errorf("got %+v, want the message at %s", f, said.Cursor)
		}
		select {
		case p := <-polled:
			if p.Cursor != said.Cursor || len(p.Items) != 1 {
				t.Errorf("got %q, want the message at %s", p.shown(), said.Cursor)
			}
		case <-time.After(patience):
			t.Fatal("the poll is not answered")
		}
		at = said.Cursor
	}
	if isClosed(held) {
		t.Error("a stream without padding came through: this tells nothing")
	}
}
