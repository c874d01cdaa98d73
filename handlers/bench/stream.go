package bench

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// A fleet is a set of streams, and the counters of what they received.
type fleet struct {
	streams []*stream
	// since is the start of the current step, as a duration since epoch. Older messages belong to an earlier
	// step, in which they were acknowledged, and do not count.
	since    atomic.Int64
	received atomic.Int64 // messages of the current step
	doubled  atomic.Int64 // ids that did not grow: events that came twice or out of order
	dropped  atomic.Int64 // streams that ended although nobody hung up
	latency  hist
	reading  sync.WaitGroup
}

// A stream is a connection of one user. One goroutine reads it until hangUp.
type stream struct {
	fleet *fleet
	token string
	conn  net.Conn
	last  string // the last id
	seq   int64  // the number in last
	hung  atomic.Bool
}

// fleet opens n streams, some at a time. It returns after each has its snapshot, and returns how long that
// took.
func (b *run) fleet(ctx context.Context, n int) (*fleet, time.Duration, error) {
	const atOnce = 128
	f := &fleet{}
	f.begin()
	for i := range n {
		f.streams = append(f.streams, &stream{fleet: f, token: b.tokens[i]})
	}
	start := time.Now()
	errs := make(chan error, n)
	slots := make(chan struct{}, atOnce)
	var opening sync.WaitGroup
	for _, s := range f.streams {
		slots <- struct{}{}
		opening.Go(func() {
			defer func() { <-slots }()
			errs <- s.open(ctx, b.URL)
		})
	}
	opening.Wait()
	took := time.Since(start)
	for range n {
		if err := <-errs; err != nil {
			f.close()
			return nil, 0, fmt.Errorf("open a stream: %w", err)
		}
	}
	return f, took, nil
}

// begin begins a step: it resets the counters, and only messages from now on count.
func (f *fleet) begin() {
	f.since.Store(int64(time.Since(epoch)))
	f.received.Store(0)
	f.latency = hist{}
}

// open connects and resumes after the last id, if there is one. When the stream is ready, open returns and a
// goroutine reads on.
func (s *stream) open(ctx context.Context, base string) error {
	u, err := url.Parse(base)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/api/stream?echo=true", nil)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+s.token)
	r.Header.Set("Accept", "text/event-stream")
	if s.last != "" {
		r.Header.Set("Last-Event-ID", s.last)
	}
	// Do not use an http.Client: its goroutines and buffers would cost more than the server's work.
	address := u.Host
	if u.Port() == "" {
		port := "80"
		if u.Scheme == "https" {
			port = "443"
		}
		address = net.JoinHostPort(u.Hostname(), port)
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	if s.conn, err = dialer.DialContext(ctx, "tcp", address); err != nil {
		return err
	}
	if u.Scheme == "https" {
		s.conn = tls.Client(s.conn, &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12})
	}
	_ = s.conn.SetDeadline(time.Now().Add(time.Minute))
	if err := r.Write(s.conn); err != nil {
		return err
	}
	in := bufio.NewReaderSize(s.conn, 1<<10)
	answer, err := http.ReadResponse(in, r)
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<16))
		return asProblem(answer.StatusCode, b)
	}
	lines := bufio.NewReaderSize(answer.Body, 4<<10)
	for {
		line, err := lines.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		if bytes.HasPrefix(line, []byte("id: ")) { // the id of stream.ready
			s.note(line)
			break
		}
	}
	_ = s.conn.SetDeadline(time.Time{})
	s.hung.Store(false)
	s.fleet.reading.Go(func() { s.read(lines) })
	return nil
}

// read counts the messages of the run until the connection ends.
func (s *stream) read(lines *bufio.Reader) {
	var message bool
	for {
		line, err := lines.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			if !s.hung.Load() {
				s.fleet.dropped.Add(1)
			}
			return
		}
		switch {
		case bytes.HasPrefix(line, []byte("data: ")):
			if at, ok := sentAt(line); ok && int64(at) >= s.fleet.since.Load() {
				message = true
				s.fleet.latency.add(time.Since(epoch) - at)
			}
		case bytes.HasPrefix(line, []byte("id: ")):
			if !s.note(line) {
				s.fleet.doubled.Add(1)
			}
			if message {
				s.fleet.received.Add(1)
			}
			message = false
		}
	}
}

// note stores the id of a frame. It returns false if the id is malformed or did not grow. The same id again
// is allowed, because stream.live has the id of the event before it, or the cursor that the stream resumed
// from.
func (s *stream) note(line []byte) bool {
	id := string(bytes.TrimSpace(line[len("id: "):]))
	_, number, _ := bytes.Cut([]byte(id), []byte("."))
	seq, err := strconv.ParseInt(string(number), 10, 64)
	if err != nil {
		return false
	}
	grown := seq > s.seq || id == s.last
	s.last, s.seq = id, seq
	return grown
}

// hangUp closes the connection.
func (s *stream) hangUp() {
	s.hung.Store(true)
	if s.conn != nil {
		_ = s.conn.Close()
	}
}

// close closes all streams and waits for their goroutines.
func (f *fleet) close() {
	for _, s := range f.streams {
		s.hangUp()
	}
	f.reading.Wait()
}

// await blocks until want messages have arrived, none has arrived for 5 s, or ctx ends.
func (f *fleet) await(ctx context.Context, want int64) {
	const patience = 5 * time.Second
	last := f.received.Load()
	since := time.Now()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for f.received.Load() < want && time.Since(since) < patience {
		if n := f.received.Load(); n != last {
			last = n
			since = time.Now()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
