// Package ssetest has what tests of streams share: one reader of frames, which takes nothing but what the contract
// allows, and one way to wait for what must come.
package ssetest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

// Patience is how long a test waits for what must come. It says nothing of how fast that is: a machine may be busy
// with other things. What must not come is shown by an event that comes after it, not by a wait.
const Patience = 3 * time.Minute

// Eventually waits until a condition holds, and ends the test if it does not within Patience.
func Eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	if !Await(condition) {
		t.Fatalf("waited %v in vain: %s", Patience, what)
	}
}

// Await waits until a condition holds, and reports whether it did within Patience.
func Await(condition func() bool) bool {
	late := time.NewTimer(Patience)
	defer late.Stop()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for !condition() {
		select {
		case <-again.C:
		case <-late.C:
			return condition() // this process may have slept for as long
		}
	}
	return true
}

// A Frame is what stands between two blank lines.
type Frame struct {
	Event, Data, ID string
	Comment, Retry  string
	Raw             string
}

// ErrStrict says that a stream is not as strictly formed as the contract has it.
var ErrStrict = errors.New("not a frame of the contract")

// ReadFrame reads one frame: event, data and id in this order, each once at most and on one line, or a comment. A
// frame that is cut off is none. The error is io.EOF at the end of a stream only.
func ReadFrame(in *bufio.Reader) (f Frame, err error) {
	var fields []string
	for {
		line, err := in.ReadString('\n')
		f.Raw += line
		if errors.Is(err, io.EOF) && f.Raw != "" {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return Frame{}, err
		}
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			break
		}
		name, value, found := strings.Cut(line, ": ")
		if !found || strings.ContainsAny(line, "\r\x00") || value == "" {
			return f, fmt.Errorf("%w: the line %q", ErrStrict, line)
		}
		fields = append(fields, name)
		switch name {
		case "":
			f.Comment = value
		case "retry":
			f.Retry = value
		case "event":
			f.Event = value
		case "data":
			f.Data = value
		case "id":
			f.ID = value
		}
	}
	for _, known := range [][]string{{"event", "data", "id"}, {"event", "data"}, {""}, {"", "retry"}} {
		if slices.Equal(fields, known) {
			return f, nil
		}
	}
	return f, fmt.Errorf("%w: the fields %q of %q", ErrStrict, fields, f.Raw)
}
