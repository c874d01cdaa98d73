package follow

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"time"
)

const (
	// maxFrame is larger than any frame of a server. The largest frames are a snapshot with 200 channels, and
	// a message of 16 KiB of characters that JSON escapes.
	maxFrame  = 1 << 20
	readBytes = 16 << 10
)

var errTooLong = fmt.Errorf("%w: a frame is too long", errForeign)

// A body is the stream that the client of r3labs reads. It passes on only complete frames: at the end of a
// body, r3labs takes an incomplete frame for a complete one, and the first digits of its id for a cursor. The
// silence timer runs only while body waits for bytes, so the reader may take any time to handle a frame.
type body struct {
	io.ReadCloser
	silent *time.Timer
	buf    []byte // buf[out:whole] is complete frames that the reader does not have yet
	out    int
	whole  int
	err    error // of the last read
}

// Read blocks until there is a complete frame, or returns the error of the connection.
func (b *body) Read(p []byte) (int, error) {
	for b.out == b.whole {
		if b.err != nil {
			return 0, b.err
		}
		b.fill()
	}
	n := copy(p, b.buf[b.out:b.whole])
	b.out += n
	return n, nil
}

// fill reads once from the connection. The caller must have passed on all complete frames.
func (b *body) fill() {
	if b.whole > 0 {
		b.buf = append(b.buf[:0], b.buf[b.whole:]...)
		b.out, b.whole = 0, 0
	}
	begun := len(b.buf)
	if begun >= maxFrame {
		b.err = errTooLong
		return
	}
	b.buf = slices.Grow(b.buf, readBytes)
	b.silent.Reset(silence)
	n, err := b.ReadCloser.Read(b.buf[begun:min(cap(b.buf), maxFrame)])
	b.silent.Stop()
	b.buf, b.err = b.buf[:begun+n], err
	b.whole = afterBlankLine(b.buf, max(0, begun-len("\n\r\n")))
}

// afterBlankLine returns where the last blank line after from ends, or 0 if there is none. A blank line ends
// a frame.
func afterBlankLine(b []byte, from int) int {
	end := 0
	for _, blank := range []string{"\n\n", "\n\r\n"} {
		if i := bytes.LastIndex(b[from:], []byte(blank)); i >= 0 {
			end = max(end, from+i+len(blank))
		}
	}
	return end
}
