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

// soon is well below the time between two heartbeats: what has not come by then was held back.
const soon = 10 * time.Second

// A stream is one that is read as it comes.
type stream struct {
	t      *testing.T
	answer *http.Response
	frames chan string // closed at its end
	hangUp context.CancelFunc
}

// open opens a stream by a URL, whose headers are to come soon. encoding is what the client accepts, or empty.
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
	in, frame := bufio.NewScanner(body), ""
	for in.Scan() {
		if frame += in.Text() + "\n"; in.Text() == "" {
			if strings.TrimLeft(frame, ": \n") != "" { // else it is padding
				s.frames <- frame
			}
			frame = ""
		}
	}
}

// await waits for the next frame, which is to contain want. That there are channels is told before or after
// the snapshot, as it happens.
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
			s.t.Fatalf("waited %v in vain for a frame with %q", within, want)
		}
	}
}

// begin awaits what every stream begins with.
func (s *stream) begin() {
	s.t.Helper()
	s.await(": ok\n", soon)
	s.await("event: stream.ready\n", soon)
}

// milliseconds is a time with a digit after the point.
func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}
