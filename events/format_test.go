package events

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A stream writes the bytes of one write in each form.
func TestTheBytesOfEachFormat(t *testing.T) {
	t.Parallel()
	at := Cursor{7, 42}
	frames := []*Frame{
		newFrame("message.created", map[string]string{"content": "<@bob> \"\n\u2028"}, at),
		ClosingFrame("drain", true),
	}
	blanks := func(n int) string { return string(bytes.Repeat([]byte(" "), n)) }
	for name, tt := range map[string]struct {
		format       Format
		first, after string
	}{
		"text/event-stream": {
			Format{},
			": ok\nretry: 2000\n\n",
			"event: message.created\ndata: {\"content\":\"<@bob> \\\"\\n\\u2028\"}\nid: 7.42\n\n" +
				"event: stream.closing\ndata: {\"reason\":\"drain\",\"reconnect\":true}\n\n: hb " +
				"7.42\n\n: hb\n\n",
		},
		"padded": {
			Format{Padding: 20},
			": ok\nretry: 2000\n\n: " + blanks(16) + "\n\n",
			"event: message.created\ndata: {\"content\":\"<@bob> \\\"\\n\\u2028\"}\nid: 7.42\n\n" +
				"event: stream.closing\ndata: {\"reason\":\"drain\",\"reconnect\":true}\n\n: hb 7.42\n\n: " +
				"hb\n\n: " + blanks(16) + "\n\n",
		},
		"lines": {
			Format{Lines: true},
			`{"event":"stream.heartbeat","data":{"retry":2000}}` + "\n",
			`{"id":"7.42","event":"message.created","data":{"content":"<@bob> \"\n\u2028"}}` + "\n" +
				`{"event":"stream.closing","data":{"reason":"drain","reconnect":true}}` + "\n" +
				`{"event":"stream.heartbeat","data":{"cursor":"7.42"}}` + "\n" +
				`{"event":"stream.heartbeat","data":{}}` + "\n",
		},
		"lines, padded": {
			Format{Lines: true, Padding: 50},
			`{"event":"stream.heartbeat","data":{"retry":2000}}` + "\n" +
				`{"event":"stream.heartbeat","data":{}}` + blanks(11) + "\n",
			`{"id":"7.42","event":"message.created","data":{"content":"<@bob> \"\n\u2028"}}` + "\n" +
				`{"event":"stream.closing","data":{"reason":"drain","reconnect":true}}` + "\n" +
				`{"event":"stream.heartbeat","data":{"cursor":"7.42"}}` + "\n" +
				`{"event":"stream.heartbeat","data":{}}` + "\n" +
				`{"event":"stream.heartbeat","data":{}}` + blanks(11) + "\n",
		},
	} {
		if diff := cmp.Diff(tt.first, string(tt.format.Preamble())); diff != "" {
			t.Errorf("%s: the first bytes (-want +got):\n%s", name, diff)
		}
		var b []byte
		for _, f := range tt.format.Dress(append(slices.Clone(frames), tt.format.Heartbeat(&at),
			tt.format.Heartbeat(nil))) {
			b = append(b, f.sse...)
		}
		if diff := cmp.Diff(tt.after, string(b)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestPaddingIsAsLongAsItIsAskedFor(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 4, 5, 39, 40, 4096, MaxPadding} {
		for least, lines := range map[int]bool{5: false, 39: true} {
			format := Format{Lines: lines, Padding: n}
			if got, want := len(format.padding().sse), max(n, least); got != want {
				t.Errorf("padding of %d, lines %v: got %d bytes, want %d", n, lines, got, want)
			}
			if line := format.padding().sse; lines && !json.Valid(line) {
				t.Errorf("got %q, want a line of JSON", line)
			}
		}
	}
}
