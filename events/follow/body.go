package follow

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"time"
)

const (
	// maxFrame is more than a server sends: 200 channels of a snapshot, or a message of 16 KiB of characters
	// that JSON escapes.
	maxFrame  = 1 << 20
	readBytes = 16 << 10
)

var errTooLong = fmt.Errorf("%w: it does not end", errForeign)

// A body is a stream as r3labs' client is to see it. It passes on whole frames only, for r3labs takes the
// rest at the end for a frame, and the digits that came of its id for a cursor. While it waits for bytes the
// timer of silence runs, and only then: the reader takes as long as it likes.
type body struct {
	io.ReadCloser
	silent *time.Timer
	buf    []byte
	out    int // buf[out:whole] is whole frames that are still to be passed on
	whole  int
	err    error // of the last read
}

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

// fill reads once. What was whole has been passed on.
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

// afterBlankLine is where the last blank line after from ends, which ends a frame; 0 without one.
func afterBlankLine(b []byte, from int) int {
	end := 0
	for _, blank := range []string{"\n\n", "\n\r\n"} {
		if i := bytes.LastIndex(b[from:], []byte(blank)); i >= 0 {
			end = max(end, from+i+len(blank))
		}
	}
	return end
}
