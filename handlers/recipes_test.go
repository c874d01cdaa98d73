package handlers_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// recipe returns a file of docs/recipes, which the pages show as it is.
func recipe(t *testing.T, file string) string {
	t.Helper()
	program, err := os.ReadFile(filepath.Join("docs", "recipes", file))
	if err != nil {
		t.Fatal(err)
	}
	return string(program)
}

// The agents of the pages answer what wakes them in order and once: while no connection lasts, also when they were
// killed, and also where they begin again before what they have answered.
func TestRecipesForAgents(t *testing.T) {
	long(t)
	t.Parallel()
	for _, tt := range []struct{ program, debian, file string }{
		{"node", "nodejs", "agent.mjs"},
		{"python3", "python3", "agent.py"},
	} {
		t.Run(tt.program, func(t *testing.T) {
			t.Parallel()
			program, dir := tool(t, tt.program, tt.debian), t.TempDir()
			writeRecipe(t, dir, tt.file)
			n := start(t, setup{})
			alice, bob := n.user("alice"), n.user("bob")
			ops := alice.general(t, "ops", "bob").Channel.ID
			url, cuts := cutter(t, n)
			run := func() (kill func()) {
				cmd := exec.Command(program, tt.file)
				cmd.Dir = dir
				cmd.Env = append(os.Environ(), "FABRIC_BACKEND_GUILD_URL="+url, "FABRIC_BACKEND_GUILD_TOKEN="+bob.token)
				cmd.Stderr = t.Output()
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				kill = sync.OnceFunc(func() {
					_ = cmd.Process.Kill() // it may have ended
					_ = cmd.Wait()         // says that it was killed
				})
				t.Cleanup(kill)
				return kill
			}
			var want []string
			post := func(count int) {
				for range count {
					content := fmt.Sprintf("word %d, ümläut €", len(want))
					alice.post(t, ops, content)
					want = append(want, strings.ToUpper(content))
				}
			}
			wantAnswers := func() {
				t.Helper()
				var got []string
				eventually(func() bool {
					got = slices.DeleteFunc(bob.history(t, ops), func(s string) bool { return s != strings.ToUpper(s) })
					return len(got) >= len(want)
				})
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("answers (-want +got):\n%s", diff)
				}
			}
			var begin []byte
			kill := run()
			if !eventually(func() bool {
				var err error
				begin, err = os.ReadFile(filepath.Join(dir, "agent.cursor"))
				return err == nil
			}) {
				t.Fatal("got no agent.cursor")
			}
			for len(want) < 60 && cuts() < 5 {
				post(3)
				wantAnswers()
			}
			kill()
			post(3)
			kill = run()
			wantAnswers()
			kill()
			if err := os.WriteFile(filepath.Join(dir, "agent.cursor"), begin, 0o600); err != nil {
				t.Fatal(err)
			}
			post(1)
			run()
			wantAnswers()
			if cuts() < 5 {
				t.Errorf("got %d broken connections, too few to tell anything", cuts())
			}
		})
	}
}

func writeRecipe(t *testing.T, dir, file string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, file), []byte(recipe(t, file)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// cutter is where the node can be reached by connections that break after a thousand bytes or two. Each
// fourth is answered by something on the way, which likes neither the request nor who makes it: that is
// nobody's last word.
func cutter(t *testing.T, n *node) (url string, cuts func() int) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var broken int
	var work sync.WaitGroup
	relay := func(conn net.Conn, number int) {
		defer func() { _ = conn.Close() }()
		if number%4 == 3 {
			_, _ = conn.Read(make([]byte, 64<<10))
			status := []int{401, 403, 400}[number/4%3]
			_, _ = fmt.Fprintf(conn, "HTTP/1.1 %d %s\r\nContent-Type: text/html\r\nContent-Length: 10\r\nConnection: close\r\n\r\n<p>Sign in", status, http.StatusText(status))
			return
		}
		server, err := net.Dial("tcp", strings.TrimPrefix(n.url, "http://"))
		if err != nil {
			return
		}
		work.Go(func() {
			_, _ = io.Copy(server, conn) // until either has gone
			_ = server.Close()
		})
		if _, err := io.Copy(conn, &cut{server, 1000 + rand.IntN(1500)}); errors.Is(err, errCut) {
			mu.Lock()
			broken++
			mu.Unlock()
		}
	}
	work.Go(func() {
		for number := 0; ; number++ {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			work.Go(func() { relay(conn, number) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		work.Wait()
	})
	return "http://" + listener.Addr().String(), func() int {
		mu.Lock()
		defer mu.Unlock()
		return broken
	}
}
