package handlers_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const ndjson = "application/x-ndjson"

// lines opens a stream of JSON lines and reads its first, which comes at once.
func (u *user) lines(t *testing.T, over transport, query string, headers ...string) *stream {
	t.Helper()
	u.n.settle(t)
	s, err := u.ask(over, query, append(headers, "Accept", ndjson)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	if got := s.resp.Header.Get("Content-Type"); s.resp.StatusCode != 200 || got != ndjson {
		t.Fatalf("got %d and Content-Type %q, want 200 and %s", s.resp.StatusCode, got, ndjson)
	}
	if got, want := s.line1(t), `{"event":"stream.heartbeat","data":{"retry":2000}}`; got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
	return s
}

// line1 reads a line, without what ends it.
func (s *stream) line1(t *testing.T) string {
	t.Helper()
	late := time.AfterFunc(patience, s.cancel)
	defer late.Stop()
	text, err := s.in.ReadString('\n')
	if err != nil {
		t.Fatal("the next line:", err)
	}
	return strings.TrimSuffix(text, "\n")
}

// nextLine reads the next event, as a frame without its own form.
func (s *stream) nextLine(t *testing.T) frame {
	t.Helper()
	for {
		text := s.line1(t)
		var i pollItem
		if err := strictly([]byte(text), &i); err != nil {
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
		return frame{event: i.Event, data: string(i.Data), id: i.ID}
	}
}

// A stream of JSON lines says what one of text/event-stream does, from the snapshot to its end.
func TestLinesSayWhatAStreamSays(t *testing.T) {
	t.Parallel()
	overTransports(t, func(t *testing.T, n *node, over transport) {
		alice, bob := n.user("alice"), n.user("bob")
		before := bob.general(t, "before")
		ops := bob.general(t, "ops", "alice")
		for _, content := range []string{"<@alice> & \"all\" \\ \u2028 𝄞", ": a comment?\nid: 7\ndata: x\r\n\r\n{}", strings.Repeat("long ", 3000)} {
			bob.post(t, ops.Channel.ID, content)
		}
		for i := range 201 {
			bob.general(t, fmt.Sprint(i), "alice")
		}
		for _, open := range []struct {
			query, until string
			headers      []string
		}{{"", "stream.channels", nil}, {"?snapshot=true", "stream.live", []string{"Last-Event-ID", before.Cursor}}} {
			events, lines := alice.open(t, over, open.query, open.headers...), alice.lines(t, over, open.query, open.headers...)
			same := func() frame {
				t.Helper()
				want, got := events.next(t), lines.nextLine(t)
				want.raw = ""
				if diff := cmp.Diff(want, got, cmp.AllowUnexported(frame{})); diff != "" {
					t.Fatalf("(-text/event-stream +lines):\n%s", diff)
				}
				return want
			}
			for same().event != open.until {
			}
			if said := bob.post(t, ops.Channel.ID, "live <@alice>"); same().id != said.Cursor {
				t.Errorf("got another event than the message at %s", said.Cursor)
			}
		}
		last := alice.lines(t, over, "?types=channel.left")
		for last.nextLine(t).event != "stream.channels" {
		}
		go n.stop()
		if f := last.nextLine(t); f.event != "stream.closing" || f.data != `{"reason":"drain","reconnect":true}` {
			t.Errorf("got %+v, want stream.closing", f)
		}
		if rest, err := io.ReadAll(last.in); err != nil || len(rest) != 0 {
			t.Errorf("got %q and error %v, want the end", rest, err)
		}
	})
}

func TestWhichFormAStreamHas(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	alice := n.user("alice")
	const sse = "text/event-stream"
	for accept, want := range map[string]string{
		"": sse, "*/*": sse, sse: sse, "text/*": sse, "application/json": sse, "application/json, text/plain, */*": sse,
		ndjson: ndjson, "Application/X-NDJSON": ndjson, ndjson + ";charset=utf-8": ndjson, "application/*": ndjson,
		ndjson + ", " + sse: sse, sse + "," + ndjson: sse, ndjson + ",*/*": sse,
		ndjson + ", " + sse + ";q=0.9": ndjson, ndjson + ";q=0.5, " + sse + ";q=0.4": ndjson, ndjson + ";q=0.4, " + sse + ";q=0.5": sse,
		ndjson + ", */*;q=0.1": ndjson, ndjson + ", text/*;q=0.8": ndjson, "application/*;q=0.9, text/event-stream;q=0.1, */*": ndjson,
		ndjson + ";q=0": sse, ndjson + ";q=2": sse, ndjson + ";q=x": sse, ndjson + ";q=0.001": ndjson, "text/event-stream;q=0, */*": ndjson,
		"application/*, application/x-ndjson;q=0": sse, ";;, /, " + ndjson: ndjson,
	} {
		s, err := alice.ask(raw, "", "Accept", accept)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.resp.Header.Get("Content-Type"); got != want {
			t.Errorf("Accept: %s: got %s, want %s", accept, got, want)
		}
		if got := s.resp.Header.Values("Vary"); !cmp.Equal(got, []string{"Accept"}) {
			t.Errorf("Accept: %s: got Vary %q, want Accept", accept, got)
		}
		s.close()
		if !eventually(func() bool { return n.router.Streams() == 0 }) {
			t.Fatal("the stream does not end")
		}
	}
}

// Each transport writes the same, padded or not, in either form.
func TestPaddedStreamsAreTheSameBytes(t *testing.T) {
	t.Parallel()
	first := start(t, setup{})
	second := start(t, setup{database: first.database, state: first.state, r3labs: true})
	alice, bob := first.user("alice"), first.user("bob")
	from := bob.general(t, "ops", "alice")
	end := bob.post(t, from.Channel.ID, "end")
	const padding = 5000
	for accept, blanks := range map[string]string{
		"text/event-stream": ": " + strings.Repeat(" ", padding-4) + "\n\n",
		ndjson:              `{"event":"stream.heartbeat","data":{}}` + strings.Repeat(" ", padding-39) + "\n",
	} {
		read := func(n *node, over transport) string {
			n.settle(t)
			s, err := alice.at(n).ask(over, fmt.Sprint("?padding=", padding), "Last-Event-ID", from.Cursor, "Accept", accept)
			if err != nil {
				t.Fatal(err)
			}
			defer s.close()
			late := time.AfterFunc(patience, s.cancel)
			defer late.Stop()
			var all []byte
			for !bytes.Contains(all, []byte("stream.live")) || !bytes.HasSuffix(all, []byte(blanks)) {
				b := make([]byte, 64<<10)
				k, err := s.in.Read(b)
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
		want := read(first, raw)
		if got := strings.Count(want, blanks); got != 3 {
			t.Errorf("%s: got padding %d times, want it at the start, after stream.ready and after the backlog", accept, got)
		}
		for name, got := range map[string]string{"r3labs": read(second, raw), "h2c": read(first, transports[1])} {
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s, %s (-raw +%s):\n%s", accept, name, name, diff)
			}
		}
	}
	for _, query := range []string{"padding=-1", "padding=65537", "padding=4k"} {
		p := alice.refused(t, 400, "malformed", "GET", "/api/stream?"+query, nil)
		if len(p.Errors) != 1 || p.Errors[0].Field != "padding" {
			t.Errorf("%s: got errors %v, want one of padding", query, p.Errors)
		}
	}
	alice.open(t, raw, "?padding=65536").next(t)
}
