package handlers_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"fabric-guild/handlers/config"
	"fabric-guild/handlers/edge"
)

// A user who changes too much is told so, and when to come back. Reading is not counted, nor are others.
func TestChangesAreRateLimited(t *testing.T) {
	t.Parallel()
	n := start(t, setup{edge: config.Edge{RateLimit: 5}})
	alice, bob := n.user("alice"), n.user("bob")
	id := alice.general(t, "ops", "bob").Channel.ID
	post := func(u *user) answer {
		t.Helper()
		a, err := u.do("POST", "/api/channels/"+id+"/messages", body{"content": "hi"})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := a.header.Get("RateLimit-Policy"), `"user";q=50;w=10`; got != want {
			t.Errorf("got RateLimit-Policy %s, want %s", got, want)
		}
		return a
	}
	var left, after int
	made, a := 1, answer{} // the channel
	for a = post(alice); a.status == 201 && made < 1000; a = post(alice) {
		made++
		if _, err := fmt.Sscanf(a.header.Get("RateLimit"), `"user";r=%d;t=%d`, &left, &after); err != nil || left < 0 || left >= 50 || after < 0 || after > 10 {
			t.Fatalf("got RateLimit %q and error %v, want what is left of 50, and in how many seconds all is", a.header.Get("RateLimit"), err)
		}
	}
	if made < 50 {
		t.Errorf("got a refusal after %d changes, want 50 at once", made)
	}
	wantProblem(t, a, 429, "rate_limited")
	if got, want := a.header.Get("RateLimit"), `"user";r=0;t=10`; got != want {
		t.Errorf("got RateLimit %s, want %s", got, want)
	}
	if s, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || s != 1 {
		t.Errorf("got Retry-After %q, want 1", a.header.Get("Retry-After"))
	}
	for range 60 { // reads
		call[roomy](t, alice, 200, "GET", "/api/channels/"+id, nil)
	}
	if a := post(bob); a.status != 201 {
		t.Errorf("another user: got %v, want 201", a)
	}
	if !eventually(func() bool { return post(alice).status == 201 }) {
		t.Error("got refusals for good, want that it passes")
	}
}

// A place that a stream leaves is free again; what is no stream is answered all the while.
func TestStreamsInTotal(t *testing.T) {
	t.Parallel()
	for _, over := range transports[:2] {
		n := start(t, setup{edge: config.Edge{MaxStreams: 3}})
		var open []*stream
		for i := range 3 {
			s, _ := n.user(fmt.Sprint("user", i)).fresh(t, over, "")
			open = append(open, s)
		}
		late := n.user("late")
		refused := func() {
			t.Helper()
			s, err := late.ask(over, "")
			if err != nil {
				t.Fatal(err)
			}
			defer s.close()
			if p := wantProblem(t, s.answer(t), 503, "server_full"); !strings.Contains(p.Detail, "another") {
				t.Errorf("got detail %q, want what to do", p.Detail)
			}
			if got := s.resp.Header.Get("Retry-After"); got != "5" {
				t.Errorf("got Retry-After %q, want 5", got)
			}
		}
		refused()
		call[map[string]any](t, late, 200, "GET", "/api/me", nil)
		for _, bad := range []string{"?lastEventId=x", "?echo=x"} { // takes no place for good
			if _, err := late.connect(over, bad); err == nil {
				t.Error("got a stream, want none")
			}
		}
		open[0].close()
		if !eventually(func() bool { return n.router.Streams() == 2 }) {
			t.Fatalf("got %d streams, want 2", n.router.Streams())
		}
		if s, err := late.connect(over, "?lastEventId=x"); err == nil {
			s.close()
			t.Error("got a stream of a malformed cursor, want none")
		}
		late.fresh(t, over, "")
		refused()
	}
}

// A poll takes a place for as long as it waits, and has left it when it is answered.
func TestPollsTakePlaces(t *testing.T) {
	t.Parallel()
	n := start(t, setup{edge: config.Edge{MaxStreams: 2}})
	alice, bob, late := n.user("alice"), n.user("bob"), n.user("late")
	ops := bob.general(t, "ops", "alice")
	bob.fresh(t, raw, "")
	for at := ops.Cursor; seq(at) < seq(ops.Cursor)+20; {
		answer := alice.polling(t, n.client.Transport, "wait=60&after="+at)
		late.refused(t, 503, "server_full", "GET", "/api/events", nil)
		bob.post(t, ops.Channel.ID, "hi")
		at = (<-answer).Cursor
	}
	alice.refused(t, 400, "cursor_malformed", "GET", "/api/events?after=x", nil)
	if first := late.poll(t, ""); len(first.Items) != 1 {
		t.Errorf("got %q, want a snapshot", first.shown())
	}
}

// Who comes through a trusted proxy has the address that it tells of; who writes the header themselves has not.
func TestStreamsOfAnAddress(t *testing.T) {
	t.Parallel()
	for _, over := range transports[:2] {
		n := start(t, setup{edge: config.Edge{MaxStreamsPerAddress: 2, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}})
		users := 0
		open := func(forwarded string) (*stream, int) {
			t.Helper()
			users++
			s, err := n.user(fmt.Sprint("user", users)).ask(over, "", "X-Forwarded-For", forwarded)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.close)
			return s, s.resp.StatusCode
		}
		for _, step := range []struct {
			from   string
			status int
		}{
			{"203.0.113.1", 200},
			{"1.1.1.1, 203.0.113.1", 200},
			{"2.2.2.2, 203.0.113.1", 429},
			{"203.0.113.2", 200},
			{"2001:db8::1", 200},
			{"2001:db8::2", 200},
			{"2001:db8::3", 429},
			{"2001:db8:0:1::3", 200},
		} {
			if _, got := open(step.from); got != step.status {
				t.Errorf("%s: got %d, want %d", step.from, got, step.status)
			}
		}
		s, _ := open("203.0.113.9")
		open("203.0.113.9")
		if _, got := open("203.0.113.9"); got != 429 {
			t.Fatalf("got %d, want 429", got)
		}
		s.close()
		if !eventually(func() bool { _, got := open("203.0.113.9"); return got == 200 }) {
			t.Error("got refusals for good, want the place that was left")
		}
	}
	n := start(t, setup{edge: config.Edge{MaxStreamsPerAddress: 1}}) // trusts nobody
	n.user("alice").fresh(t, raw, "")
	s, err := n.user("bob").ask(raw, "", "X-Forwarded-For", "203.0.113.1")
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	wantProblem(t, s.answer(t), 429, "too_many_streams")
}

// A body that does not come to its end is not waited for, be it read or not.
func TestSlowBodies(t *testing.T) {
	t.Parallel()
	for _, over := range transports[:2] {
		n := start(t, setup{tune: func(s *http.Server) { s.ReadTimeout = time.Second }})
		alice := n.user("alice")
		id := alice.general(t, "ops").Channel.ID
		for _, path := range []string{"/messages", "/join"} {
			l := newLine(over, 0)
			defer l.hangUp()
			body, write := io.Pipe()
			defer func() { _ = write.Close() }()
			r, err := http.NewRequestWithContext(t.Context(), "POST", n.url+"/api/channels/"+id+path, body)
			if err != nil {
				t.Fatal(err)
			}
			r.Header = http.Header{"Authorization": {"Bearer " + alice.token}, "Content-Type": {"application/json"}}
			go func() { _, _ = io.WriteString(write, `{"content":`) }()
			late := time.AfterFunc(patience, func() { _ = write.CloseWithError(errors.New("the server waits for ever")) })
			resp, err := l.RoundTrip(r)
			if !late.Stop() || err != nil {
				t.Errorf("%s: got %v and error %v, want an answer", path, resp, err)
				continue
			}
			_ = resp.Body.Close()
		}
	}
}

// A head that does not come to its end is not waited for. A stream is silent for as long as it likes.
func TestSlowHeadsAndQuietStreams(t *testing.T) {
	t.Parallel()
	for _, over := range transports {
		t.Run(over.name, func(t *testing.T) {
			t.Parallel()
			n := start(t, setup{r3labs: over.r3labs, tls: over.tls, tune: func(s *http.Server) {
				s.ReadTimeout, s.WriteTimeout, s.ReadHeaderTimeout = time.Second, time.Second, 2*time.Second
			}})
			alice := n.user("alice")
			id := alice.general(t, "ops").Channel.ID
			quiet, _ := alice.fresh(t, over, "?echo=true")
			_, addr, _ := strings.Cut(n.url, "://")
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			_ = conn.SetDeadline(time.Now().Add(patience))
			if over.tls {
				conn = tls.Client(conn, &tls.Config{RootCAs: trusting().RootCAs, ServerName: "localhost"})
			}
			if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(conn); err != nil {
				t.Errorf("got %v, want the end of the connection", err)
			}
			// By now the stream has been silent for longer than any request may take.
			p := alice.post(t, id, "hi")
			if got := quiet.next(t).id; got != p.Cursor {
				t.Errorf("got %s, want %s on a stream that was quiet", got, p.Cursor)
			}
		})
	}
}

// The bounds that the program serves with.
func TestServerBounds(t *testing.T) {
	t.Parallel()
	s := edge.NewHTTPServer(http.NotFoundHandler(), nil, slog.New(slog.DiscardHandler))
	for name, got := range map[string]time.Duration{
		"ReadHeaderTimeout": s.ReadHeaderTimeout, "ReadTimeout": s.ReadTimeout, "WriteTimeout": s.WriteTimeout, "IdleTimeout": s.IdleTimeout,
	} {
		if got <= 0 || got > 2*time.Minute {
			t.Errorf("got %s %v, want two minutes at most", name, got)
		}
	}
	n := start(t, setup{})
	if a, err := n.user("alice").do("GET", "/healthz", nil, "X-Large", strings.Repeat("x", 64<<10)); err != nil || a.status != 431 {
		t.Errorf("a head of 64 KiB: got %v and error %v, want 431", a, err)
	}
}
