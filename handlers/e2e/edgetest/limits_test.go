package edgetest_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"fabric-guild/events/ssetest"
	"fabric-guild/handlers/config"
	"fabric-guild/handlers/e2e/nodetest"
	"fabric-guild/handlers/edge"
)

// A user may make the changes of ten seconds at once. Each answer says how many are left.
func TestChangesAreCounted(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{Edge: config.Edge{RateLimit: 5}})
	alice := n.User("alice")
	path := "/api/channels/" + alice.General(t, "ops").Channel.ID + "/messages"
	for i := range 49 { // the channel was the first change
		a, err := alice.Do("POST", path, nodetest.Body{"content": "hi"})
		if err != nil || a.Status != 201 {
			t.Fatalf("change %d: got %v and error %v, want 50 changes at once", i, a, err)
		}
		if got, want := a.Header.Get("RateLimit-Policy"), `"user";q=50;w=10`; got != want {
			t.Errorf("got RateLimit-Policy %s, want %s", got, want)
		}
		var left, after int
		_, err = fmt.Sscanf(a.Header.Get("RateLimit"), `"user";r=%d;t=%d`, &left, &after)
		if err != nil || left < 48-i || left >= 50 || after < 0 || after > 10 {
			t.Errorf("got RateLimit %q and error %v, want at least %d that are left, and at most 10 seconds",
				a.Header.Get("RateLimit"), err, 48-i)
		}
	}
}

// A place that a stream leaves is free again; what is no stream is answered all the while.
func TestStreamsInTotal(t *testing.T) {
	t.Parallel()
	for _, over := range nodetest.Transports[:2] {
		n := nodetest.Start(t, nodetest.Setup{Edge: config.Edge{MaxStreams: 3}})
		var open []*nodetest.Stream
		for i := range 3 {
			s, _ := n.User(fmt.Sprint("user", i)).Fresh(t, over, "")
			open = append(open, s)
		}
		late := n.User("late")
		refused := func() {
			t.Helper()
			s, err := late.Ask(over, "")
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if p := nodetest.WantProblem(t, s.Answer(t), 503, "server_full"); !strings.Contains(p.Detail,
				"another") {
				t.Errorf("got detail %q, want what to do", p.Detail)
			}
			if got := s.Resp.Header.Get("Retry-After"); got != "5" {
				t.Errorf("got Retry-After %q, want 5", got)
			}
		}
		refused()
		nodetest.Call[map[string]any](t, late, 200, "GET", "/api/me", nil)
		for _, bad := range []string{"?lastEventId=x", "?echo=x"} { // keeps no place
			if _, err := late.Connect(over, bad); err == nil {
				t.Error("got a stream, want none")
			}
		}
		open[0].Close()
		if !ssetest.Await(func() bool { return n.Router.Streams() == 2 }) {
			t.Fatalf("got %d streams, want 2", n.Router.Streams())
		}
		if s, err := late.Connect(over, "?lastEventId=x"); err == nil {
			s.Close()
			t.Error("got a stream of a malformed cursor, want none")
		}
		late.Fresh(t, over, "")
		refused()
	}
}

// A poll takes a place for as long as it waits, and has left it when it is answered.
func TestPollsTakePlaces(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{Edge: config.Edge{MaxStreams: 2}})
	alice, bob, late := n.User("alice"), n.User("bob"), n.User("late")
	ops := bob.General(t, "ops", "alice")
	bob.Fresh(t, nodetest.Raw, "")
	for at := ops.Cursor; nodetest.Seq(at) < nodetest.Seq(ops.Cursor)+20; {
		answer := alice.Polling(t, n.Client.Transport, "wait=60&after="+at)
		late.Refused(t, 503, "server_full", "GET", "/api/events", nil)
		bob.Post(t, ops.Channel.ID, "hi")
		at = (<-answer).Cursor
	}
	alice.Refused(t, 400, "cursor_malformed", "GET", "/api/events?after=x", nil)
	if first := late.Poll(t, ""); len(first.Items) != 1 {
		t.Errorf("got %q, want a snapshot", first.Shown())
	}
}

// Who comes through a trusted proxy has the address that it tells of; who writes the header themselves has
// not.
func TestStreamsOfAnAddress(t *testing.T) {
	t.Parallel()
	for _, over := range nodetest.Transports[:2] {
		n := nodetest.Start(t, nodetest.Setup{
			Edge: config.Edge{
				MaxStreamsPerAddress: 2,
				TrustedProxies:       []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
			},
		})
		users := 0
		open := func(forwarded string) (*nodetest.Stream, int) {
			t.Helper()
			users++
			s, err := n.User(fmt.Sprint("user", users)).Ask(over, "", "X-Forwarded-For", forwarded)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.Close)
			return s, s.Resp.StatusCode
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
		s.Close()
		if !ssetest.Await(func() bool { _, got := open("203.0.113.9"); return got == 200 }) {
			t.Error("got only refusals, want the place that was left")
		}
	}
	n := nodetest.Start(t, nodetest.Setup{Edge: config.Edge{MaxStreamsPerAddress: 1}}) // trusts nobody
	n.User("alice").Fresh(t, nodetest.Raw, "")
	s, err := n.User("bob").Ask(nodetest.Raw, "", "X-Forwarded-For", "203.0.113.1")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	nodetest.WantProblem(t, s.Answer(t), 429, "too_many_streams")
}

// A body that does not come to its end is not waited for, be it read or not.
func TestSlowBodies(t *testing.T) {
	t.Parallel()
	plain := nodetest.Start(t, nodetest.Setup{})
	id := plain.User("alice").General(t, "ops").Channel.ID
	for _, over := range nodetest.Transports[:2] {
		n := nodetest.Start(t, nodetest.Setup{
			Database: plain.Database, State: plain.State,
			Tune: func(s *http.Server) { s.ReadTimeout = time.Second },
		})
		alice := n.User("alice")
		for _, path := range []string{"/messages", "/join"} {
			var err error
			if !ssetest.Await(func() bool { // a busy machine may not read the head in time
				err = halfABody(t, over, n.URL+"/api/channels/"+id+path, alice.Token)
				return err == nil
			}) {
				t.Errorf("%s: got %v, want an answer", path, err)
			}
		}
	}
}

// halfABody sends a request with a body that does not come to its end, and waits for the answer.
func halfABody(t *testing.T, over nodetest.Transport, url, token string) error {
	l := nodetest.NewLine(over, 0)
	defer l.HangUp()
	body, write := io.Pipe()
	defer func() { _ = write.Close() }()
	r, err := http.NewRequestWithContext(t.Context(), "POST", url, body)
	if err != nil {
		return err
	}
	r.Header = http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"}}
	go func() { _, _ = io.WriteString(write, `{"content":`) }()
	late := time.AfterFunc(ssetest.Patience,
		func() { _ = write.CloseWithError(errors.New("the server does not stop waiting")) })
	defer late.Stop()
	resp, err := l.RoundTrip(r)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// A head that does not come to its end is not waited for. A stream is silent for as long as it likes.
func TestSlowHeadsAndQuietStreams(t *testing.T) {
	t.Parallel()
	nodetest.EachTransport(t, func(t *testing.T, over nodetest.Transport) {
		plain := nodetest.Start(t, nodetest.Setup{})
		alice := plain.User("alice")
		id := alice.General(t, "ops").Channel.ID
		n := nodetest.Start(t, nodetest.Setup{
			Database: plain.Database, State: plain.State, R3labs: over.R3labs, TLS: over.TLS,
			Tune: func(s *http.Server) {
				s.ReadTimeout, s.WriteTimeout, s.ReadHeaderTimeout = time.Second, time.Second,
					2*time.Second
			},
		})
		n.Settle(t)
		var quiet *nodetest.Stream
		if !ssetest.Await(func() (ok bool) { // a busy machine may not send the head in time
			var err error
			quiet, err = alice.At(n).Connect(over, "?echo=true")
			return err == nil
		}) {
			t.Fatal("the stream does not open")
		}
		t.Cleanup(quiet.Close)
		nodetest.Data[nodetest.ReadyData](t, quiet.Next(t), "stream.ready")
		_, addr, _ := strings.Cut(n.URL, "://")
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		_ = conn.SetDeadline(time.Now().Add(ssetest.Patience))
		if over.TLS {
			conn = tls.Client(conn, &tls.Config{
				RootCAs:    nodetest.Trusting().RootCAs,
				ServerName: "localhost",
			})
		}
		if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(conn); err != nil {
			t.Errorf("got %v, want the end of the connection", err)
		}
		// By now the stream has been silent for longer than any request may take.
		p := alice.Post(t, id, "hi")
		if got := quiet.NextEvent(t).ID; got != p.Cursor {
			t.Errorf("got %s, want %s on a stream that was quiet", got, p.Cursor)
		}
	})
}

// The bounds that the program serves with.
func TestServerBounds(t *testing.T) {
	t.Parallel()
	s := edge.NewHTTPServer(http.NotFoundHandler(), nil, slog.New(slog.DiscardHandler))
	for name, got := range map[string]time.Duration{
		"ReadHeaderTimeout": s.ReadHeaderTimeout, "ReadTimeout": s.ReadTimeout,
		"WriteTimeout": s.WriteTimeout, "IdleTimeout": s.IdleTimeout,
	} {
		if got <= 0 || got > 2*time.Minute {
			t.Errorf("got %s %v, want two minutes at most", name, got)
		}
	}
	n := nodetest.Start(t, nodetest.Setup{})
	if a, err := n.User("alice").Do("GET", "/healthz", nil, "X-Large",
		strings.Repeat("x", 64<<10)); err != nil || a.Status != 431 {
		t.Errorf("a head of 64 KiB: got %v and error %v, want 431", a, err)
	}
}
