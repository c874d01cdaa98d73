package guildtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/events/ssetest"
)

// A Reader is a client that keeps its cursor and reconnects when its stream ends.
type Reader struct {
	User string

	t     testing.TB
	token string
	base  func() string // returns the URL for the next connection
	life  time.Duration // longest life of a connection; 0: until the server ends it
	http  *http.Client

	mu    sync.Mutex
	got   Record
	tally *tally // replaces got.Frames; nil: got.Frames keeps the frames
}

// A Frame is a frame of a stream, as the server sent it.
type Frame struct{ Event, ID, Data string }

// A Record is everything that a reader has got so far from all its streams.
type Record struct {
	Cursor string
	Frames []Frame
	Resets []Frame  // the frames stream.reset
	Ends   int      // number of streams that ended
	End    error    // how the last stream ended; nil: with the end of the body
	Faults []string // answers that no server may give
}

// Listen starts a reader and blocks until its stream is ready. Before each connection the reader calls base
// for the URL of the server. The reader ends with the test.
func (l *Load) Listen(user string, base func() string) *Reader {
	l.t.Helper()
	return l.listen(&Reader{User: user, base: base, http: client})
}

// ListenOver is like Listen, but dial makes the connections, one for each stream.
func (l *Load) ListenOver(
	user string, base func() string, dial func(ctx context.Context, network, addr string) (net.Conn, error),
) *Reader {
	l.t.Helper()
	transport := &http.Transport{DialContext: dial, DisableKeepAlives: true}
	return l.listen(&Reader{User: user, base: base, http: &http.Client{Transport: transport}})
}

// ListenBriefly is like Listen, but the reader drops each connection after a random time below life.
func (l *Load) ListenBriefly(user string, base func() string, life time.Duration) *Reader {
	l.t.Helper()
	return l.listen(&Reader{User: user, base: base, life: life, http: client})
}

// listen starts a reader and blocks until its stream is ready.
func (l *Load) listen(r *Reader) *Reader {
	l.t.Helper()
	r.t = l.t
	if r.token == "" {
		r.token = l.node.Token(r.User)
	}
	ctx := l.open
	l.reading.Go(func() {
		for ctx.Err() == nil {
			r.connect(ctx)
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
	l.readers = append(l.readers, r)
	r.Await("a stream", func(got Record) bool { return got.Cursor != "" })
	return r
}

// Record returns everything that the reader has got so far. The result does not change later.
func (r *Reader) Record() Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	got := r.got
	// The reader only appends to these slices. After Clip, an append copies them.
	got.Frames = slices.Clip(got.Frames)
	got.Resets = slices.Clip(got.Resets)
	got.Faults = slices.Clip(got.Faults)
	return got
}

// Await blocks until a condition on the reader's record holds, at most for Recovery.
func (r *Reader) Await(what string, condition func(got Record) bool) {
	r.t.Helper()
	Eventually(r.t, r.User+" waits for "+what, Recovery, func() bool { return condition(r.Record()) })
}

// AwaitClosing blocks until the server has drained the stream. The test fails if the last frame is not
// stream.closing with the reason drain, or if the body was cut off.
func (r *Reader) AwaitClosing() {
	r.t.Helper()
	r.Await("the stream's end", func(got Record) bool { return got.Ends > 0 })
	got := r.Record()
	want := Frame{Event: "stream.closing", Data: `{"reason":"drain","reconnect":true}`}
	if diff := cmp.Diff(want, got.Frames[len(got.Frames)-1]); diff != "" {
		r.t.Errorf("%s: the last frame of the stream (-want +got):\n%s", r.User, diff)
	}
	if got.End != nil {
		r.t.Errorf("%s: got %v after the last frame, want the end of the body", r.User, got.End)
	}
}

// Heard reports whether the reader has got a message that contains content.
func (r Record) Heard(content string) bool {
	return slices.ContainsFunc(r.Frames, func(f Frame) bool {
		return f.Event == "message.created" && strings.Contains(f.Data, content)
	})
}

// Messages returns only the messages. They are the same for all members. Other events may differ: one reader
// gets a channel in a snapshot, and another gets an event about it, depending on when its stream began.
func (r Record) Messages() []Frame {
	return slices.DeleteFunc(slices.Clone(r.Frames),
		func(f Frame) bool { return f.Event != "message.created" })
}

// connect opens a stream and blocks until it ends.
func (r *Reader) connect(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if r.life > 0 {
		defer time.AfterFunc(rand.N(r.life), cancel).Stop()
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.base()+"/api/stream", nil)
	if err != nil {
		return // base may be empty while no server runs
	}
	request.Header.Set("Authorization", "Bearer "+r.token)
	resume := r.Record().Cursor
	if resume != "" {
		request.Header.Set("Last-Event-ID", resume)
	}
	answer, err := r.http.Do(request)
	if err != nil {
		return
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		if !unavailable(answer.StatusCode) {
			r.fault("got %d for a stream, want 200, or 503 while there is no database", answer.StatusCode)
		}
		return
	}
	in := bufio.NewReader(answer.Body)
	for err == nil {
		var f ssetest.Frame
		f, err = ssetest.ReadFrame(in)
		if err == nil && f.Event != "" {
			r.take(Frame{Event: f.Event, Data: f.Data, ID: f.ID}, resume)
		}
	}
	if errors.Is(err, ssetest.ErrStrict) {
		r.fault("%v", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got.Ends++
	r.got.End = nil
	if !errors.Is(err, io.EOF) {
		r.got.End = err
	}
}

// take records a frame. resume is the cursor with which the stream was opened.
func (r *Reader) take(f Frame, resume string) {
	if f.Event == "stream.ready" && resume != "" && !strings.Contains(f.Data, `"resumed":true`) {
		r.fault("got %s %s, want to resume at %s", f.Event, f.Data, resume)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tally != nil {
		r.addToTallyLocked(f)
	} else {
		r.got.Frames = append(r.got.Frames, f)
	}
	if f.Event == "stream.reset" {
		r.got.Resets = append(r.got.Resets, f)
	}
	if f.ID != "" {
		r.got.Cursor = f.ID
	}
}

// fault records an answer that no server may give.
func (r *Reader) fault(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got.Faults = append(r.got.Faults, fmt.Sprintf(format, args...))
}
