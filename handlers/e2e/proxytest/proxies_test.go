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
	"fabric-guild/handlers/e2e/guildtest"
)

// behind runs a test for each kind of proxy, with a server and a proxy in front of it.
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

// A proxy passes on the first frames of a stream at once, although nothing follows them. It does the same
// with each event: the test posts the next message only when the stream has got the last one. One transport
// sends a body that ends with its connection. The other one sends chunks.
func TestNothingIsHeldBack(t *testing.T) {
	t.Parallel()
	for _, k := range kinds {
		for _, transport := range []string{"auto", "r3labs"} {
			t.Run(k.name+"/"+transport, func(t *testing.T) {
				t.Parallel()
				n := program.Start(t, guildtest.StateDir(t), "-database-url", dbtest.New(t),
					"-transport", transport)
				p := start(t, k, idle, n)
				l := guildtest.NewLoad(t, n)
				bob := n.Token("bob")
				direct := lockstep(t, l, n.Base(), bob, live, "")
				for _, as := range []struct{ path, encoding string }{
					{path: live},
					{path: live, encoding: "gzip"},
					// A proxy may not compress small bodies. With padding, the first bytes are enough.
					{path: live + "?padding=1024", encoding: "gzip"},
				} {
					through := lockstep(t, l, p.base(), bob, as.path, as.encoding)
					t.Logf("median time from a post to its event, %s, accepting %q: %s, without the proxy %s",
						as.path, as.encoding, milliseconds(through), milliseconds(direct))
				}
			})
		}
	}
}

const live = "/api/stream"

// lockstep opens a stream, and posts through the same proxy. It posts the next message when the stream has
// got the last one. It returns the median time from a post to its event.
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
		s.await(content, soon)
		took = append(took, time.Since(began))
		<-posted
	}
	s.wantFewBeats(len(took))
	slices.Sort(took)
	return took[len(took)/2]
}

// post posts in a goroutine, because the event may come before the answer. The returned channel is closed
// after the answer.
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

// Heartbeats keep a stream open, although the proxy closes idle connections after a time. With a time below
// the heartbeat, the proxy does close the stream. That shows that the limit works.
func TestHeartbeatsKeepAStreamOpen(t *testing.T) {
	t.Parallel()
	const heartbeat = 15 * time.Second
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			n := program.Start(t, guildtest.StateDir(t), "-database-url", dbtest.New(t))
			l, bob := guildtest.NewLoad(t, n), n.Token("bob")
			above := open(t, start(t, k, 2*heartbeat, n).base()+live, bob, "")
			below := open(t, start(t, k, heartbeat/3, n).base()+live, bob, "")
			above.begin()
			below.begin()
			if frame, ok := <-below.frames; ok {
				t.Errorf("got %q with an idle limit below the heartbeat, want the end of the stream", frame)
			}
			for range 3 { // together they take longer than the limit
				above.await(": hb ", soon)
			}
			if _, err := l.Post(n.Base(), l.Channels[0], "after the heartbeats"); err != nil {
				t.Fatal(err)
			}
			above.await("after the heartbeats", soon)
		})
	}
}

// A server notices that a client is gone, and logs the end of the request. Some proxies notice by themselves
// that their client closed the connection. Others notice it when they send something, or only when they send
// again.
func TestDisconnectIsNoticed(t *testing.T) {
	t.Parallel()
	behind(t, func(t *testing.T, k kind, n *guildtest.Node, p *proxy) {
		l := guildtest.NewLoad(t, n)
		s := open(t, p.base()+live, n.Token("bob"), "")
		s.begin()
		gone := func() bool { return strings.Contains(n.Log(), "path=/api/stream ") }
		if gone() {
			t.Fatal("the stream ended before its client closed the connection")
		}
		s.hangUp()
		posts := 0
		guildtest.Eventually(t, "the server notices", soon, func() bool {
			if k.watches || gone() {
				return gone()
			}
			posts++
			if status, err := l.Post(n.Base(), l.Channels[0],
				fmt.Sprint("to nobody ", posts)); status != http.StatusCreated {
				t.Errorf("got %d and %v for a post, want 201", status, err)
			}
			return false
		})
		t.Logf("noticed after %d posts", posts)
	})
}

// A proxy is killed, a proxy is stopped, and a server behind the proxy is killed. A reader resumes each time.
func TestResumeAfterRestarts(t *testing.T) {
	t.Parallel()
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			state := guildtest.StateDir(t)
			url := dbtest.New(t)
			n := program.Start(t, state, "-database-url", url)
			p := start(t, k, idle, n)
			l := guildtest.NewLoad(t, n)
			bob := l.Listen("bob", p.base)
			l.Write(2, p.base)
			for _, harm := range []func(){
				func() {
					p.stop(syscall.SIGKILL)
					p.run()
				},
				func() {
					p.stop(syscall.SIGTERM)
					p.run()
				},
				func() {
					n.Kill()
					refused := l.Counts().Refused
					guildtest.Eventually(t, "the proxy refuses posts", guildtest.Recovery, func() bool {
						return l.Counts().Refused >= refused+10
					})
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

// A browser exchanges its token for a cookie, and posts with the cookie. The server compares the origin of
// the page with the Host of the request, because a page with http, such as http://example.org, sends no
// Sec-Fetch-Site. Only a page that the browser trusts sends that header too.
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
		answer := ask("POST", "/api/session", "", "Authorization", "Bearer "+n.Token("alice"),
			"Origin", p.base())
		if answer.StatusCode != http.StatusOK || len(answer.Cookies()) != 1 {
			t.Fatalf("got %v, want 200 and a cookie", answer)
		}
		cookie := answer.Cookies()[0].Name + "=" + answer.Cookies()[0].Value
		const channel = `{"guildId":"g1","name":"ops","xType":"general"}`
		for origin, want := range map[string]int{
			p.base():              http.StatusCreated,
			"http://evil.example": http.StatusForbidden,
		} {
			got := ask("POST", "/api/channels", channel, "Cookie", cookie, "Origin", origin)
			if got.StatusCode != want {
				t.Errorf("%s: got %d, want %d", origin, got.StatusCode, want)
			}
		}
	})
}
