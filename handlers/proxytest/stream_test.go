package proxytest

import (
	"bufio"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// soon is well below the time between two heartbeats. If a frame takes longer, the proxy held it back.
const soon = 10 * time.Second

// A stream is an open stream. A goroutine reads its frames.
type stream struct {
	t      *testing.T
	answer *http.Response
	frames chan string // closed at the end of the stream
	hangUp context.CancelFunc
}

// open opens the stream at a URL. The headers must come soon. encoding is the value of Accept-Encoding, or
// empty.
func open(t *testing.T, url, token, encoding string) *stream {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	if encoding != "" {
		r.Header.Set("Accept-Encoding", encoding)
	}
	late := time.AfterFunc(soon, cancel)
	answer, err := (&http.Transport{DisableCompression: true}).RoundTrip(r)
	if err != nil {
		t.Fatal("the headers: ", err)
	}
	if !late.Stop() || answer.StatusCode != http.StatusOK || answer.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("got %v, want 200 and a stream", answer)
	}
	s := &stream{t: t, answer: answer, frames: make(chan string, 1000), hangUp: cancel}
	go s.read()
	return s
}

func (s *stream) read() {
	defer close(s.frames)
	defer func() { _ = s.answer.Body.Close() }()
	var body io.Reader = s.answer.Body
	if s.answer.Header.Get("Content-Encoding") == "gzip" {
		plain, err := gzip.NewReader(body)
		if err != nil {
			return
		}
		body = plain
	}
	in := bufio.NewScanner(body)
	frame := ""
	for in.Scan() {
		frame += in.Text() + "\n"
		if in.Text() == "" {
			padding := strings.TrimLeft(frame, ": \n") == ""
			if !padding {
				s.frames <- frame
			}
			frame = ""
		}
	}
}

// await blocks until the next frame, which must contain want. It skips channel.joined, because those events
// may come before or after the snapshot.
func (s *stream) await(want string, within time.Duration) {
	s.t.Helper()
	late := time.After(within)
	for {
		select {
		case frame, ok := <-s.frames:
			switch {
			case ok && strings.Contains(frame, want):
				return
			case !strings.HasPrefix(frame, "event: channel.joined\n"):
				s.t.Fatalf("got %q, want a frame with %q", frame, want)
			}
		case <-late:
			s.t.Fatalf("timed out after %v waiting for a frame with %q", within, want)
		}
	}
}

// begin awaits the first frames of every stream.
func (s *stream) begin() {
	s.t.Helper()
	s.await(": ok\n", soon)
	s.await("event: stream.ready\n", soon)
}

// milliseconds formats a time with one digit after the point.
func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}
