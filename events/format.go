package events

import (
	"strings"
)

// MaxPadding is the largest Format.Padding.
const MaxPadding = 64 << 10

// A Format says in which form a stream is written.
type Format struct {
	Lines   bool // JSON lines instead of text/event-stream
	Padding int  // the number of meaningless bytes after each write
	Beats   bool // heartbeats are events, for clients that cannot see comments
}

// retry is how long a client should wait before it reconnects, in milliseconds.
const retry = "2000"

// Preamble returns the first bytes of a stream: a first byte for clients that wait for one, and the time to
// wait before a reconnect.
func (o Format) Preamble() []byte {
	b := []byte(": ok\nretry: " + retry + "\n\n")
	if o.Lines {
		b = idleLine([]byte(`{"retry":`+retry+`}`), 0).sse
	}
	if o.Padding > 0 {
		b = append(b, o.padding().sse...)
	}
	return b
}

// Dress returns frames in the form in which they are written. Padding follows them, because a middlebox that
// forwards only full buffers needs more bytes behind a frame before it forwards the frame. Heartbeats get
// padding too, for the same reason. Dress returns frames itself if the form changes nothing.
func (o Format) Dress(frames []*Frame) []*Frame {
	if !o.Lines && o.Padding == 0 {
		return frames
	}
	out := make([]*Frame, 0, len(frames)+1)
	for _, f := range frames {
		if o.Lines {
			f = f.line()
		}
		out = append(out, f)
	}
	if o.Padding > 0 {
		out = append(out, o.padding())
	}
	return out
}

// padding returns o.Padding bytes that clients ignore, or a few more where the frame itself is longer than
// that.
func (o Format) padding() *Frame {
	if o.Lines {
		return idleLine([]byte(`{}`), o.Padding)
	}
	const around = len(": \n\n")
	return comment(strings.Repeat(" ", max(1, o.Padding-around)))
}

// line returns f as a JSON line. JSON lines have no comments: some readers of lines break at an empty line,
// but none at an event that they do not know.
func (f *Frame) line() *Frame {
	b := make([]byte, 0, len(f.ID)+len(f.Event)+len(f.Data)+40)
	b = append(b, '{')
	if f.ID != "" {
		b = append(append(append(b, `"id":"`...), f.ID...), `",`...)
	}
	b = append(append(append(b, `"event":"`...), f.Event...), `","data":`...)
	b = append(append(b, f.Data...), "}\n"...)
	return lineFrame(b)
}

// idleLine returns a line that only shows that the stream is alive, filled up with blanks to size bytes.
func idleLine(data []byte, size int) *Frame {
	b := append([]byte(`{"event":"`+StreamHeartbeat+`","data":`), data...)
	b = append(b, '}')
	b = append(b, strings.Repeat(" ", max(0, size-len(b)-1))...)
	return lineFrame(append(b, '\n'))
}

// lineFrame returns the frame of a line. The frame has no event name, so that r3labs takes it for a comment.
func lineFrame(line []byte) *Frame { return &Frame{Data: line[:len(line)-1], sse: line} }
