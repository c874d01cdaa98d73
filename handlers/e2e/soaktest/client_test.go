package soaktest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fabric-guild/events/follow"
)

// A frame is a frame that a client has got. floor is set only for a stream.reset: at that time, retention may
// have removed all events up to floor.
type frame struct {
	event string
	id    string
	data  []byte
	floor int64
}

// A client follows one user's events until the test ends. It reconnects after each end of a connection.
type client struct {
	*soak
	name, user string
	kind       string
	rand       *rand.Rand
	echo       bool
	wakeup     bool // only messages that wake the user
	snapshot   bool // asks for a snapshot even if it resumes

	away atomic.Bool // while true, the client does not reconnect

	mu     sync.Mutex
	frames []frame
	cursor string
	opens  int
	cut    context.CancelFunc // ends the current connection
}

// stayAway ends the connection and keeps the client from reconnecting.
func (c *client) stayAway() {
	c.away.Store(true)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut != nil {
		c.cut()
	}
}

func (c *client) query() url.Values {
	q := url.Values{}
	for name, set := range map[string]bool{"echo": c.echo, "wakeup": c.wakeup} {
		if set {
			q.Set(name, "true")
		}
	}
	return q
}

// run follows until ctx ends. While the workers make changes, run cuts connections at random moments, and
// sometimes the client stays away for a while.
func (c *client) run(ctx, cutting context.Context) {
	for ctx.Err() == nil {
		life, cut := context.WithCancel(ctx)
		c.mu.Lock()
		c.opens++
		c.cut = cut
		c.mu.Unlock()
		if !c.away.Load() {
			c.connect(life, cutting, cut)
		}
		cut()
		away := 20 * time.Millisecond
		if cutting.Err() == nil && c.rand.IntN(6) == 0 {
			away = rand.N(3 * time.Second)
		}
		select {
		case <-time.After(away):
		case <-ctx.Done():
		}
	}
}

// connect opens a connection and blocks until it ends or is cut.
func (c *client) connect(life, cutting context.Context, cut func()) {
	if cutting.Err() == nil {
		timer := time.AfterFunc(50*time.Millisecond+rand.N(2*time.Second), cut)
		defer timer.Stop()
		defer context.AfterFunc(cutting, func() { timer.Stop() })()
	}
	switch c.kind {
	case "follow":
		c.follow(life)
	case "poll":
		for c.poll(life) {
			continue
		}
	default:
		c.stream(life)
	}
}

// take records a frame. Only a frame with an id moves the cursor.
func (c *client) take(f frame) {
	if f.event == "stream.reset" {
		f.floor = c.floor()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.event != "stream.heartbeat" && f.event != "stream.closing" {
		c.frames = append(c.frames, f)
	}
	if f.id != "" {
		c.cursor = f.id
	}
}

func (c *client) at() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cursor
}

func (c *client) get(ctx context.Context, path string, q url.Values, h http.Header) (*http.Response, error) {
	base := c.bases[c.rand.IntN(len(c.bases))]
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path+"?"+q.Encode(), nil)
	if err != nil {
		return nil, err
	}
	r.Header = h
	r.Header.Set("Authorization", "Bearer "+c.tokens[c.user])
	answer, err := c.http.Do(r)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode == http.StatusOK {
		return answer, nil
	}
	b, _ := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	var said struct{ Code string }
	_ = json.Unmarshal(b, &said)
	if answer.StatusCode != http.StatusServiceUnavailable && said.Code != "too_many_streams" {
		c.fault("%s: got %d %s", c.name, answer.StatusCode, b)
	}
	return nil, errors.New(said.Code)
}

// stream reads one connection with SSE or JSON lines until it ends.
func (c *client) stream(ctx context.Context) {
	q := c.query()
	header := http.Header{}
	if c.snapshot {
		q.Set("snapshot", "true")
	}
	if at := c.at(); at != "" {
		header.Set("Last-Event-ID", at)
	}
	if c.kind == "lines" {
		header.Set("Accept", "application/x-ndjson")
	}
	answer, err := c.get(ctx, "/api/stream", q, header)
	if err != nil {
		return
	}
	defer func() { _ = answer.Body.Close() }()
	var f frame
	for lines := bufio.NewReader(answer.Body); ; {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return // a line without its end was cut off
		}
		line = line[:len(line)-1]
		if c.kind == "lines" {
			var item struct {
				ID, Event string
				Data      json.RawMessage
			}
			if err := json.Unmarshal(line, &item); err != nil {
				c.fault("%s: %v in the line %.200q", c.name, err, line)
				return
			}
			c.take(frame{event: item.Event, id: item.ID, data: item.Data})
			continue
		}
		name, value, _ := bytes.Cut(line, []byte(": "))
		switch {
		case len(line) == 0:
			if f.event != "" {
				c.take(f)
			}
			f = frame{}
		case string(name) == "event" && f.event == "":
			f.event = string(value)
		case string(name) == "data" && f.data == nil:
			f.data = bytes.Clone(value)
		case string(name) == "id" && f.id == "":
			f.id = string(value)
		case len(name) > 0 && string(name) != "retry":
			c.fault("%s: got the line %.200q within %+v", c.name, line, f)
		}
	}
}

// poll polls once.
func (c *client) poll(ctx context.Context) (ok bool) {
	q := c.query()
	q.Set("wait", "1")
	q.Set("limit", "40")
	if at := c.at(); at != "" {
		q.Set("after", at)
	}
	answer, err := c.get(ctx, "/api/events", q, http.Header{})
	if err != nil {
		return false
	}
	defer func() { _ = answer.Body.Close() }()
	var got struct {
		Items []struct {
			ID, Event string
			Data      json.RawMessage
		}
		Cursor string
	}
	if err := json.NewDecoder(answer.Body).Decode(&got); err != nil {
		lost := errors.Is(err, io.ErrUnexpectedEOF) || strings.Contains(err.Error(), "connection")
		if !lost && ctx.Err() == nil {
			c.fault("%s: %v", c.name, err)
		}
		return false
	}
	for _, item := range got.Items {
		c.take(frame{event: item.Event, id: item.ID, data: item.Data})
	}
	c.take(frame{event: "stream.cursor", id: got.Cursor})
	return true
}

// follow uses the client library, which decides when to reconnect. Each connection goes to another server.
func (c *client) follow(ctx context.Context) {
	library := follow.Client{
		URL: c.bases[0], Token: func() (string, error) { return c.tokens[c.user], nil },
		Query: c.query(), Snapshot: c.snapshot, Transport: anyServer{c},
	}
	err := library.Follow(ctx, c.at(), func(e follow.Event) error {
		c.take(frame{event: e.Name, id: e.ID, data: bytes.Clone(e.Data)})
		return nil
	})
	if ctx.Err() == nil {
		c.fault("%s: got %v, want to follow on", c.name, err)
	}
}

// anyServer sends each request to one of the servers.
type anyServer struct{ *client }

func (a anyServer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	a.mu.Lock()
	base := a.bases[a.opens%len(a.bases)]
	a.opens++
	a.mu.Unlock()
	to, err := url.Parse(base)
	if err != nil {
		return nil, fmt.Errorf("the server's address: %w", err)
	}
	r.URL.Host = to.Host
	r.Host = to.Host
	return a.http.Transport.RoundTrip(r)
}
