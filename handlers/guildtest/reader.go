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

// A Reader is a client that keeps its cursor and comes back whenever its stream ends.
type Reader struct {
	User string

	t     testing.TB
	token string
	base  func() string // where to connect next
	life  time.Duration // what a connection lives at most; 0: until the other side ends it
	http  *http.Client
	tally *tally // in the place of the record's frames; nil: they are kept

	mu  sync.Mutex
	got Record
}

// A Frame is one of a stream, as it was sent.
type Frame struct{ Event, ID, Data string }

// A Record is what a reader has got until some moment, of all of its streams.
type Record struct {
	Cursor string
	Frames []Frame
	Resets []Frame  // those of them that begin anew
	Ends   int      // of streams
	End    error    // how the last one ended; nil: with its body
	Faults []string // what no server may answer
}

// Listen starts a reader and waits for its stream. It asks base before each connection where the server is,
// and ends with the test.
func (l *Load) Listen(user string, base func() string) *Reader {
	l.t.Helper()
	return l.listen(&Reader{User: user, base: base, http: client})
}

// ListenOver is Listen over connections that dial makes, one for each stream.
func (l *Load) ListenOver(user string, base func() string, dial func(ctx context.Context, network, addr string) (net.Conn, error)) *Reader {
	l.t.Helper()
	return l.listen(&Reader{User: user, base: base, http: &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}})
}

// ListenBriefly is Listen with a reader that drops each connection at a random moment of this life.
func (l *Load) ListenBriefly(user string, base func() string, life time.Duration) *Reader {
	l.t.Helper()
	return l.listen(&Reader{User: user, base: base, life: life, http: client})
}

func (l *Load) listen(r *Reader) *Reader {
	l.t.Helper()
	if r.t = l.t; r.token == "" {
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

// Record is what the reader has got so far. It is not changed afterwards.
func (r *Reader) Record() Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	got := r.got // frames and faults are only ever appended
	got.Frames, got.Resets, got.Faults = slices.Clip(got.Frames), slices.Clip(got.Resets), slices.Clip(got.Faults)
	return got
}

// Await waits for a condition on what the reader has got; for Recovery at most.
func (r *Reader) Await(what string, condition func(got Record) bool) {
	r.t.Helper()
	Eventually(r.t, r.User+" waits for "+what, Recovery, func() bool { return condition(r.Record()) })
}

// AwaitClosing waits for the end of a stream that the server drains. Another last frame, and a body that is
// cut off, are errors.
func (r *Reader) AwaitClosing() {
	r.t.Helper()
	r.Await("the stream's end", func(got Record) bool { return got.Ends > 0 })
	got := r.Record()
	want := Frame{Event: "stream.closing", Data: `{"reason":"drain","reconnect":true}`}
	if diff := cmp.Diff(want, got.Frames[len(got.Frames)-1]); diff != "" {
		r.t.Errorf("%s: the last frame of the stream (-want +got):\n%s", r.User, diff)
	}
	if got.End != nil {
		r.t.Errorf("%s: got %v after it, want the end of the body", r.User, got.End)
	}
}

// Heard reports whether a message with such a content has come.
func (r Record) Heard(content string) bool {
	return slices.ContainsFunc(r.Frames, func(f Frame) bool {
		return f.Event == "message.created" && strings.Contains(f.Data, content)
	})
}

// Messages are what everyone hears alike: a snapshot or an event tells of a channel, as a stream begins.
func (r Record) Messages() []Frame {
	return slices.DeleteFunc(slices.Clone(r.Frames), func(f Frame) bool { return f.Event != "message.created" })
}

// connect follows one stream to its end.
func (r *Reader) connect(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if r.life > 0 {
		defer time.AfterFunc(rand.N(r.life), cancel).Stop()
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.base()+"/api/stream", nil)
	if err != nil {
		return // between two servers
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

func (r *Reader) take(f Frame, resume string) {
	if f.Event == "stream.ready" && resume != "" && !strings.Contains(f.Data, `"resumed":true`) {
		r.fault("got %s %s, want to resume at %s", f.Event, f.Data, resume)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tally != nil {
		r.takeLean(f)
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

func (r *Reader) fault(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got.Faults = append(r.got.Faults, fmt.Sprintf(format, args...))
}
