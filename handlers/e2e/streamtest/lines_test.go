package streamtest_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/events/ssetest"
	"fabric-guild/handlers/e2e/nodetest"
)

const ndjson = "application/x-ndjson"

// lines opens a stream of JSON lines and reads its first, which comes at once.
func lines(
	t *testing.T, u *nodetest.User, over nodetest.Transport, query string, headers ...string,
) *nodetest.Stream {
	t.Helper()
	u.Node.Settle(t)
	s, err := u.Ask(over, query, append(headers, "Accept", ndjson)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if got := s.Resp.Header.Get("Content-Type"); s.Resp.StatusCode != 200 || got != ndjson {
		t.Fatalf("got %d and Content-Type %q, want 200 and %s", s.Resp.StatusCode, got, ndjson)
	}
	if got, want := line1(t, s), `{"event":"stream.heartbeat","data":{"retry":2000}}`; got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
	return s
}

// line1 reads a line, without what ends it.
func line1(t *testing.T, s *nodetest.Stream) string {
	t.Helper()
	late := time.AfterFunc(ssetest.Patience, s.Cancel)
	defer late.Stop()
	text, err := s.In.ReadString('\n')
	if err != nil {
		t.Fatal("the next line:", err)
	}
	return strings.TrimSuffix(text, "\n")
}

// nextLine reads the next event, as a frame without its own form.
func nextLine(t *testing.T, s *nodetest.Stream) ssetest.Frame {
	t.Helper()
	for {
		text := line1(t, s)
		var i nodetest.PollItem
		if err := nodetest.Strictly([]byte(text), &i); err != nil {
			t.Fatalf("%v: %q", err, text)
		}
		if i.Event == "stream.heartbeat" {
			continue
		}
		want := fmt.Sprintf(`{"event":%q,"data":%s}`, i.Event, i.Data)
		if i.ID != "" {
			want = fmt.Sprintf(`{"id":%q,"event":%q,"data":%s}`, i.ID, i.Event, i.Data)
		}
		if text != want {
			t.Fatalf("got %s, want %s", text, want)
		}
		return ssetest.Frame{Event: i.Event, Data: string(i.Data), ID: i.ID}
	}
}

// A stream of JSON lines says what one of text/event-stream does, from the snapshot to its end.
func TestLinesSayWhatAStreamSays(t *testing.T) {
	t.Parallel()
	nodetest.OverTransports(t, func(t *testing.T, n *nodetest.Node, over nodetest.Transport) {
		alice, bob := n.User("alice"), n.User("bob")
		before := bob.General(t, "before")
		ops := bob.General(t, "ops", "alice")
		for _, content := range []string{
			"<@alice> & \"all\" \\ \u2028 𝄞",
			": a comment?\nid: 7\ndata: x\r\n\r\n{}", strings.Repeat("long ", 3000),
		} {
			bob.Post(t, ops.Channel.ID, content)
		}
		for i := range 201 {
			bob.General(t, fmt.Sprint(i), "alice")
		}
		for _, open := range []struct {
			query, until string
			headers      []string
		}{
			{"", "stream.channels", nil},
			{"?snapshot=true", "stream.live", []string{"Last-Event-ID", before.Cursor}},
		} {
			events, lines := alice.Open(t, over, open.query, open.headers...),
				lines(t, alice, over, open.query, open.headers...)
			same := func() ssetest.Frame {
				t.Helper()
				want, got := events.Next(t), nextLine(t, lines)
				want.Raw = ""
				if diff := cmp.Diff(want, got, cmp.AllowUnexported(ssetest.Frame{})); diff != "" {
					t.Fatalf("(-text/event-stream +lines):\n%s", diff)
				}
				return want
			}
			for same().Event != open.until {
			}
			if said := bob.Post(t, ops.Channel.ID, "live <@alice>"); same().ID != said.Cursor {
				t.Errorf("got another event than the message at %s", said.Cursor)
			}
		}
		last := lines(t, alice, over, "?types=channel.left")
		for nextLine(t, last).Event != "stream.channels" {
		}
		go n.Stop()
		if f := nextLine(t, last); f.Event != "stream.closing" ||
			f.Data != `{"reason":"drain","reconnect":true}` {
			t.Errorf("got %+v, want stream.closing", f)
		}
		if rest, err := io.ReadAll(last.In); err != nil || len(rest) != 0 {
			t.Errorf("got %q and error %v, want the end", rest, err)
		}
	})
}

func TestWhichFormAStreamHas(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	alice := n.User("alice")
	const sse = "text/event-stream"
	for accept, want := range map[string]string{
		"": sse, "*/*": sse, sse: sse, "text/*": sse, "application/json": sse,
		"application/json, text/plain, */*": sse,
		ndjson:                              ndjson, "Application/X-NDJSON": ndjson,
		ndjson + ";charset=utf-8": ndjson, "application/*": ndjson,
		ndjson + ", " + sse: sse, sse + "," + ndjson: sse, ndjson + ",*/*": sse,
		ndjson + ", " + sse + ";q=0.9": ndjson, ndjson + ";q=0.5, " + sse + ";q=0.4": ndjson,
		ndjson + ";q=0.4, " + sse + ";q=0.5": sse,
		ndjson + ", */*;q=0.1":               ndjson, ndjson + ", text/*;q=0.8": ndjson,
		"application/*;q=0.9, text/event-stream;q=0.1, */*": ndjson,
		ndjson + ";q=0": sse, ndjson + ";q=2": sse, ndjson + ";q=x": sse, ndjson + ";q=0.001": ndjson,
		"text/event-stream;q=0, */*":              ndjson,
		"application/*, application/x-ndjson;q=0": sse, ";;, /, " + ndjson: ndjson,
	} {
		s, err := alice.Ask(nodetest.Raw, "", "Accept", accept)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Resp.Header.Get("Content-Type"); got != want {
			t.Errorf("Accept: %s: got %s, want %s", accept, got, want)
		}
		if got := s.Resp.Header.Values("Vary"); !cmp.Equal(got, []string{"Accept"}) {
			t.Errorf("Accept: %s: got Vary %q, want Accept", accept, got)
		}
		s.Close()
		if !ssetest.Await(func() bool { return n.Router.Streams() == 0 }) {
			t.Fatal("the stream does not end")
		}
	}
}

// Each transport writes the same, padded or not, in either form.
func TestPaddedStreamsAreTheSameBytes(t *testing.T) {
	t.Parallel()
	first := nodetest.Start(t, nodetest.Setup{})
	second := nodetest.Start(t, nodetest.Setup{Database: first.Database, State: first.State, R3labs: true})
	alice, bob := first.User("alice"), first.User("bob")
	from := bob.General(t, "ops", "alice")
	end := bob.Post(t, from.Channel.ID, "end")
	const padding = 5000
	for accept, blanks := range map[string]string{
		"text/event-stream": ": " + strings.Repeat(" ", padding-4) + "\n\n",
		ndjson: `{"event":"stream.heartbeat","data":{}}` +
			strings.Repeat(" ", padding-39) + "\n",
	} {
		read := func(n *nodetest.Node, over nodetest.Transport) string {
			n.Settle(t)
			s, err := alice.At(n).Ask(over, fmt.Sprint("?padding=", padding), "Last-Event-ID", from.Cursor,
				"Accept", accept)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			late := time.AfterFunc(ssetest.Patience, s.Cancel)
			defer late.Stop()
			var all []byte
			for !bytes.Contains(all, []byte("stream.live")) || !bytes.HasSuffix(all, []byte(blanks)) {
				b := make([]byte, 64<<10)
				k, err := s.In.Read(b)
				if err != nil {
					t.Fatalf("%v after %q", err, all)
				}
				all = append(all, b[:k]...)
			}
			if !bytes.Contains(all, []byte(end.Cursor)) {
				t.Errorf("got %q, want the message in it", all)
			}
			return string(all)
		}
		want := read(first, nodetest.Raw)
		if got := strings.Count(want, blanks); got != 3 {
			t.Errorf("%s: got padding %d times, want it at the start, after stream.ready and after the "+
				"backlog", accept, got)
		}
		for name, got := range map[string]string{
			"r3labs": read(second, nodetest.Raw),
			"h2c":    read(first, nodetest.Transports[1]),
		} {
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s, %s (-raw +%s):\n%s", accept, name, name, diff)
			}
		}
	}
	for _, query := range []string{"padding=-1", "padding=65537", "padding=4k"} {
		p := alice.Refused(t, 400, "malformed", "GET", "/api/stream?"+query, nil)
		if len(p.Errors) != 1 || p.Errors[0].Field != "padding" {
			t.Errorf("%s: got errors %v, want one of padding", query, p.Errors)
		}
	}
	alice.Open(t, nodetest.Raw, "?padding=65536").Next(t)
}
