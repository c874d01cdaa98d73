package agent

import (
	"bytes"
	"strings"
	"sync"
	"unicode/utf8"
)

// maxOutput bounds what a command may print, in bytes.
const maxOutput = 1 << 20

// An output keeps what a command prints. If that is too much, it closes full, and drops the rest.
type output struct {
	full chan struct{}
	b    bytes.Buffer
}

func newOutput() *output { return &output{full: make(chan struct{})} }

// Write never fails: a command that cannot write would fail for a reason that its author does not expect.
func (o *output) Write(p []byte) (int, error) {
	if o.b.Len()+len(p) <= maxOutput {
		return o.b.Write(p)
	}
	select {
	case <-o.full:
	default:
		close(o.full)
	}
	return len(p), nil
}

// tooMuch returns errTooLong if the command has printed too much. Its output has ended.
func (o *output) tooMuch() error {
	select {
	case <-o.full:
		return errTooLong
	default:
		return nil
	}
}

// A lastLine passes everything on, and remembers the last line that is not blank. Any goroutine may use it.
type lastLine struct {
	to *shared

	mu   sync.Mutex
	tail []byte // the end of what was written
}

// maxLine bounds what a lastLine remembers, in bytes. An error of a wake has 500 characters.
const maxLine = 2000

func (l *lastLine) Write(p []byte) (int, error) {
	l.mu.Lock()
	l.tail = append(l.tail, p[max(0, len(p)-2*maxLine):]...)
	l.tail = l.tail[max(0, len(l.tail)-2*maxLine):]
	l.mu.Unlock()
	return l.to.Write(p)
}

// String returns the last line, as the error of a wake may be.
func (l *lastLine) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := strings.TrimSpace(clean(l.tail))
	return shorten(text[strings.LastIndexByte(text, '\n')+1:])
}

// maxError is the maximum length of the error of a wake, in characters.
const maxError = 500

// shorten returns the first characters of a text.
func shorten(text string) string {
	if utf8.RuneCountInString(text) <= maxError {
		return text
	}
	return string([]rune(text)[:maxError])
}
