// Package ssetest is shared by all tests of streams. It has a strict reader of frames, which accepts only
// what the contract allows, and functions that wait for a condition.
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

// Patience is how long a test waits for an expected event before it fails. It is long because a machine may
// be busy with other work, so it is no measure of speed. To show that an event does not come, a test must
// wait for a later event, not for a time.
const Patience = 3 * time.Minute

// Eventually blocks until a condition holds. If the condition does not hold within Patience, Eventually ends
// the test.
func Eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	if !Await(condition) {
		t.Fatalf("timed out after %v: %s", Patience, what)
	}
}

// Await blocks until a condition holds or Patience is over. It reports whether the condition holds.
func Await(condition func() bool) bool { return Within(Patience, condition) }

// Within is Await for another duration. The pause between two checks grows from 5 to 50 ms: a condition may
// be a query or a page in a browser, and on a busy machine frequent checks delay what they wait for.
func Within(limit time.Duration, condition func() bool) bool {
	begin := time.Now()
	late := time.NewTimer(limit)
	defer late.Stop()
	for !condition() {
		pause := 5*time.Millisecond + time.Since(begin)/50
		select {
		case <-time.After(min(pause, 50*time.Millisecond)):
		case <-late.C:
			return condition() // this process may have been suspended since the last check
		}
	}
	return true
}

// A Frame is the text between two blank lines of a stream.
type Frame struct {
	Event, Data, ID string
	Comment, Retry  string
	Raw             string
}

// ErrStrict means that a frame does not have the strict form that the contract requires.
var ErrStrict = errors.New("not a frame of the contract")

// ReadFrame reads one frame and blocks until then. A frame is a comment, or the fields event, data and id in
// this order, each at most once and on one line. For any other frame the error is ErrStrict. At the end of
// the stream the error is io.EOF, inside a frame io.ErrUnexpectedEOF.
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
