package events

import (
	"strings"
)

// MaxPadding bounds Options.Padding.
const MaxPadding = 64 << 10

// retry is how many milliseconds a client is to wait before it comes back.
const retry = "2000"

// preamble opens a stream: a first byte for those who wait for one, and when to come back.
func (o *Options) preamble() []byte {
	b := []byte(": ok\nretry: " + retry + "\n\n")
	if o.Lines {
		b = idleLine([]byte(`{"retry":`+retry+`}`), 0).sse
	}
	if o.Padding > 0 {
		b = append(b, o.padding().sse...)
	}
	return b
}

// dress is what goes over the wire of frames. Padding comes after them, for a middlebox that passes on
// nothing but full buffers is pushed on by what follows; a heartbeat needs it as much as an event.
func (o *Options) dress(frames []*Frame) []*Frame {
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

// padding is o.Padding bytes that clients pass over, a few more where it asks for less than they take.
func (o *Options) padding() *Frame {
	if o.Lines {
		return idleLine([]byte(`{}`), o.Padding)
	}
	const around = len(": \n\n")
	return comment(strings.Repeat(" ", max(1, o.Padding-around)))
}

// line is f as a JSON line. There are no comments here: there are readers of lines that break at an empty one,
// and none at an event that they don't know.
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

// idleLine is a line that shows no more than that the stream is alive, filled up with blanks to size bytes.
func idleLine(data []byte, size int) *Frame {
	b := append([]byte(`{"event":"stream.heartbeat","data":`), data...)
	b = append(b, '}')
	b = append(b, strings.Repeat(" ", max(0, size-len(b)-1))...)
	return lineFrame(append(b, '\n'))
}

// lineFrame has no event, so that r3labs takes it for a comment.
func lineFrame(line []byte) *Frame { return &Frame{Data: line[:len(line)-1], sse: line} }
