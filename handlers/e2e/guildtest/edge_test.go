package guildtest_test

import (
	"bufio"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers/config"
	"fabric-guild/handlers/e2e/guildtest"
)

var program guildtest.Program

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		fmt.Println("skipped by -short")
		return
	}
	os.Exit(program.Main(m, config.EnvPrefix))
}

// curl uses the program over TLS with HTTP/1.1 and HTTP/2. The test also covers a new certificate and the
// proper end of a stream.
func TestTLS(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("this test needs curl: apt-get install curl")
	}
	state := guildtest.StateDir(t)
	first := guildtest.NewPair()
	second := guildtest.NewPair()
	certFile, keyFile := first.Write(t, state)
	n := program.Start(t, state, "-database-url", dbtest.New(t), "-tls-cert", certFile, "-tls-key", keyFile)
	if !strings.HasPrefix(n.Base(), "https://127.0.0.1:") {
		t.Fatalf("got the URL %s, want https", n.Base())
	}
	trusted := filepath.Join(t.TempDir(), "trusted.pem")
	trust := func(p guildtest.Pair) {
		if err := os.WriteFile(trusted, p.Cert, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	trust(first)
	alice := n.Token("alice")
	curl := func(args string) (out *guildtest.Text, ended <-chan error) {
		return n.Shell(fmt.Sprintf("exec curl -sSN --cacert %s -H 'Authorization: Bearer %s' %s", trusted,
			alice, args))
	}
	shows := func(out *guildtest.Text, ended <-chan error, want string) {
		t.Helper()
		guildtest.Eventually(t, "curl shows "+want, guildtest.Recovery, func() bool {
			return strings.Contains(out.String(), want) || len(ended) > 0
		})
		if !strings.Contains(out.String(), want) {
			t.Fatalf("got %q and %v, want %q", out, <-ended, want)
		}
	}
	type open struct {
		name  string
		out   *guildtest.Text
		ended <-chan error
	}
	var streams []open
	for _, s := range []struct{ flag, status string }{
		{"--http1.1", "HTTP/1.1 200"},
		{"--http2", "HTTP/2 200"},
	} {
		out, ended := curl(s.flag + " -i " + n.Base() + "/api/stream")
		shows(out, ended, "event: stream.ready\n")
		shows(out, ended, s.status)
		streams = append(streams, open{name: s.flag, out: out, ended: ended})
	}
	out, ended := curl(`-H 'Content-Type: application/json' ` +
		`-d '{"guildId":"g1","name":"ops","xType":"general"}' ` +
		n.Base() + "/api/channels")
	shows(out, ended, `"name":"ops"`)
	for _, s := range streams {
		shows(s.out, s.ended, "event: channel.joined\n")
	}

	second.Write(t, state)
	trust(second)
	guildtest.Eventually(t, "the new certificate is in use", guildtest.Patience, func() bool {
		_, ended := curl(n.Base() + "/readyz")
		return <-ended == nil
	})
	stdout, stderr, code := program.Run(t, nil,
		"admin", "refresh", "-state", state, "-addr", n.Addr(), "-tls-cert", certFile)
	if code != 0 || !strings.Contains(stdout, `"ok":true`) {
		t.Errorf("admin refresh: got exit %d, %q and %q, want 0", code, stdout, stderr)
	}
	n.Stop()
	for _, s := range streams {
		shows(s.out, s.ended, "event: stream.closing\n")
		if err := <-s.ended; err != nil {
			t.Errorf("%s: got %v at the end of the stream, want no error", s.name, err)
		}
	}
}

// More connections than the system allows are no fault: the connections wait. The server raises its limit of
// open files as far as the system allows, and keeps some files for itself.
func TestMoreConnectionsThanFiles(t *testing.T) {
	t.Parallel()
	state := guildtest.StateDir(t)
	cmd := exec.Command("sh", "-c", `ulimit -Sn 64; ulimit -Hn 512; exec "$@"`, "sh",
		program.Path, "-addr", "127.0.0.1:0", "-state", state, "-database-url", dbtest.New(t),
		"-max-streams", "1000", "-log-level", "debug")
	n := program.Launch(t, state, nil, cmd)
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", n.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	var files int
	for line := range strings.Lines(string(limits)) {
		_, _ = fmt.Sscanf(line, "Max open files %d", &files)
	}
	if files < 511 {
		t.Errorf("got a limit of %d files, want it raised to 512 or so", files)
	}
	room := files / 8 * 7
	if want := fmt.Sprint("room_for=", room/8*7); !strings.Contains(n.Log(), want) {
		t.Errorf("got the log %s, want it to contain %s", n.Log(), want)
	}
	var conns []net.Conn
	for range 600 {
		conn, err := net.Dial("tcp", n.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if _, err := fmt.Fprint(conn, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	answered := func(conn net.Conn) bool {
		r, err := http.ReadResponse(bufio.NewReader(conn), nil)
		return err == nil && r.StatusCode == http.StatusOK
	}
	for i := range room {
		if !answered(conns[i]) {
			t.Fatalf("got no answer on connection %d, want answers on the first %d", i, room)
		}
	}
	if open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", n.Pid())); err != nil || len(open) >= files {
		t.Errorf("got %d open files and %v, want some files left", len(open), err)
	}
	for i := range room {
		_ = conns[i].Close()
	}
	for i := range 600 - room {
		if !answered(conns[room+i]) {
			t.Fatalf("got no answer on connection %d, want answers on all connections that waited", room+i)
		}
	}
	if strings.Contains(n.Log(), "too many open files") {
		t.Error("the server ran out of files")
	}
}
