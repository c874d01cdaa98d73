package proxytest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers/guildtest"
)

// behind runs a test for each proxy, with a server and one that is in front of it.
func behind(t *testing.T, test func(t *testing.T, k kind, n *guildtest.Node, p *proxy)) {
	t.Helper()
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			n := program.Start(t, guildtest.StateDir(t), "-database-url", dbtest.New(t))
			test(t, k, n, start(t, k, idle, n))
		})
	}
}

// What a stream begins with comes although nothing follows it, and so does each event: the next one is only
// posted when the last was heard. One transport sends a body that ends with its connection, the other chunks.
func TestNothingIsHeldBack(t *testing.T) {
	t.Parallel()
	for _, k := range kinds {
		for _, transport := range []string{"auto", "r3labs"} {
			t.Run(k.name+"/"+transport, func(t *testing.T) {
				t.Parallel()
				n := program.Start(t, guildtest.StateDir(t), "-database-url", dbtest.New(t), "-transport", transport)
				p, l, bob := start(t, k, idle, n), guildtest.NewLoad(t, n), n.Token("bob")
				direct := lockstep(t, l, n.Base(), bob, live, "")
				for _, as := range [][2]string{{live, ""}, {live, "gzip"}, {live + "?padding=1024", "gzip"}} { // at once more than is too little to compress
					through := lockstep(t, l, p.base(), bob, as[0], as[1])
					t.Logf("from a post to its event, median, %s, accepting %q: %s, without the proxy %s", as[0], as[1], milliseconds(through), milliseconds(direct))
				}
			})
		}
	}
}

const live = "/api/stream"

// lockstep opens a stream and posts by the same way, each time when the last message was heard. It returns the
// median of the times between.
func lockstep(t *testing.T, l *guildtest.Load, base, token, path, encoding string) time.Duration {
	t.Helper()
	s := open(t, base+path, token, encoding)
	defer s.hangUp()
	s.begin()
	var took []time.Duration
	for i := range 100 {
		content := fmt.Sprintf("step %d %s", i, s.answer.Header.Get("X-Request-Id"))
		began := time.Now()
		posted := post(t, l, base, content)
		s.await(content, soon) // a heartbeat instead would tell that 100 of them take too long
		took = append(took, time.Since(began))
		<-posted
	}
	slices.Sort(took)
	return took[len(took)/2]
}

// post posts, and returns a channel that is closed when that is done: its event may come first.
func post(t *testing.T, l *guildtest.Load, base, content string) <-chan struct{} {
	posted := make(chan struct{})
	go func() {
		defer close(posted)
		if status, err := l.Post(base, l.Channels[0], content); status != http.StatusCreated {
			t.Errorf("got %d and %v for a post, want 201", status, err)
		}
	}()
	return posted
}

// The heartbeat crosses the limit after which a proxy gives up a connection on which nothing comes. That there
// is such a limit shows where it is shorter.
func TestHeartbeatsCrossTheIdleLimit(t *testing.T) {
	t.Parallel()
	const heartbeat = 15 * time.Second
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			n := program.Start(t, guildtest.StateDir(t), "-database-url", dbtest.New(t))
			l, bob := guildtest.NewLoad(t, n), n.Token("bob")
			above := open(t, start(t, k, heartbeat+3*time.Second, n).base()+live, bob, "")
			below := open(t, start(t, k, heartbeat/3, n).base()+live, bob, "")
			above.begin()
			below.begin()
			if frame, ok := <-below.frames; ok {
				t.Errorf("got %q where the limit is below the heartbeat, want the stream's end", frame)
			}
			above.await(": hb ", 2*heartbeat)
			above.await(": hb ", 2*heartbeat)
			if _, err := l.Post(n.Base(), l.Channels[0], "after two heartbeats"); err != nil {
				t.Fatal(err)
			}
			above.await("after two heartbeats", soon)
		})
	}
}

// A server learns that a client has gone, and writes the line of the request. Some proxies see for themselves
// that their client has hung up, others when they have something to send to it, or by the second time.
func TestDisconnectIsNoticed(t *testing.T) {
	t.Parallel()
	behind(t, func(t *testing.T, k kind, n *guildtest.Node, p *proxy) {
		l := guildtest.NewLoad(t, n)
		s := open(t, p.base()+live, n.Token("bob"), "")
		s.begin()
		gone := func() bool { return strings.Contains(n.Log(), "path=/api/stream ") }
		if gone() {
			t.Fatal("got a stream that has ended before its client hung up")
		}
		s.hangUp()
		posts := 0
		guildtest.Eventually(t, "the server notices", soon, func() bool {
			if k.watches || gone() {
				return gone()
			}
			posts++
			if status, err := l.Post(n.Base(), l.Channels[0], fmt.Sprint("to nobody ", posts)); status != http.StatusCreated {
				t.Errorf("got %d and %v for a post, want 201", status, err)
			}
			return false
		})
		t.Logf("noticed after %d posts", posts)
	})
}

// A proxy that dies, one that is stopped, and a server that dies behind it: a reader resumes each time.
func TestResumeAfterRestarts(t *testing.T) {
	t.Parallel()
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			state, url := guildtest.StateDir(t), dbtest.New(t)
			n := program.Start(t, state, "-database-url", url)
			p, l := start(t, k, idle, n), guildtest.NewLoad(t, n)
			bob := l.Listen("bob", p.base)
			l.Write(2, p.base)
			for _, harm := range []func(){
				func() { p.stop(syscall.SIGKILL); p.run() },
				func() { p.stop(syscall.SIGTERM); p.run() },
				func() {
					n.Kill()
					refused := l.Counts().Refused
					guildtest.Eventually(t, "the proxy refuses posts", guildtest.Recovery, func() bool { return l.Counts().Refused >= refused+10 })
					n = program.Start(t, state, "-database-url", url, "-addr", n.Addr())
				},
			} {
				l.AwaitMore(100, guildtest.Recovery)
				ends := bob.Record().Ends
				harm()
				bob.Await("another stream", func(got guildtest.Record) bool { return got.Ends > ends })
			}
			l.AwaitMore(100, guildtest.Recovery)
			l.Finish()
			l.Verify(bob, guildtest.Whole)
		})
	}
}

// A browser signs in and posts with its cookie: the server compares the page's origin with the Host that it
// is asked for. http://example.org is such an origin; a browser that trusts it sends Sec-Fetch-Site besides.
func TestSessionOfABrowser(t *testing.T) {
	t.Parallel()
	behind(t, func(t *testing.T, _ kind, n *guildtest.Node, p *proxy) {
		ask := func(method, path, body string, headers ...string) *http.Response {
			t.Helper()
			r, err := http.NewRequestWithContext(t.Context(), method, p.base()+path, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/json")
			for i := 0; i < len(headers); i += 2 {
				r.Header.Set(headers[i], headers[i+1])
			}
			answer, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = answer.Body.Close()
			return answer
		}
		answer := ask("POST", "/api/session", "", "Authorization", "Bearer "+n.Token("alice"), "Origin", p.base())
		if answer.StatusCode != http.StatusOK || len(answer.Cookies()) != 1 {
			t.Fatalf("got %v, want 200 and a cookie", answer)
		}
		cookie := answer.Cookies()[0].Name + "=" + answer.Cookies()[0].Value
		for origin, want := range map[string]int{p.base(): http.StatusCreated, "http://evil.example": http.StatusForbidden} {
			if got := ask("POST", "/api/channels", `{"guildId":"g1","name":"ops","xType":"general"}`, "Cookie", cookie, "Origin", origin); got.StatusCode != want {
				t.Errorf("%s: got %d, want %d", origin, got.StatusCode, want)
			}
		}
	})
}
