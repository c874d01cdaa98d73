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

	"fabric-guild/handlers/e2e/guildtest"
)

// soon is how long a test waits for what must come. A proxy that holds frames back shows by the heartbeats
// that push them on: see wantFewBeats.
const soon = guildtest.Patience

// A stream is an open stream. A goroutine reads its frames.
type stream struct {
	t      *testing.T
	answer *http.Response
	frames chan string // closed at the end of the stream
	hangUp context.CancelFunc
	beats  int // heartbeats that came in place of an awaited frame
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
	if !late.Stop() || answer.StatusCode != http.StatusOK ||
		answer.Header.Get("Content-Type") != "text/event-stream" {
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
// may come before or after the snapshot, and counts heartbeats.
func (s *stream) await(want string, within time.Duration) {
	s.t.Helper()
	late := time.After(within)
	for {
		select {
		case frame, ok := <-s.frames:
			switch {
			case ok && strings.Contains(frame, want):
				return
			case strings.HasPrefix(frame, ": hb"), strings.HasPrefix(frame, "event: stream.cursor\n"):
				s.beats++
			case !strings.HasPrefix(frame, "event: channel.joined\n"):
				s.t.Fatalf("got %q, want a frame with %q", frame, want)
			}
		case <-late:
			s.t.Fatalf("timed out after %v waiting for a frame with %q", within, want)
		}
	}
}

// wantFewBeats fails if heartbeats came for more than a tenth of the frames that the test awaited one by one.
// Of a proxy that holds a frame back until the next one pushes it on, a heartbeat comes for each. On a busy
// machine a few come as well.
func (s *stream) wantFewBeats(frames int) {
	s.t.Helper()
	if s.beats > frames/10 {
		s.t.Errorf("got %d heartbeats while %d frames were awaited: the frames are held back",
			s.beats, frames)
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
