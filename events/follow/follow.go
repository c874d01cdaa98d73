// Package follow is the client of a stream: it follows a user's events for ever, over whatever ends a
// connection, and hands on each of them once and in the log's order.
//
// One connection is read by r3labs/sse's client. What that gets wrong does not reach it: it would not come
// back after the end of a body, gives up after a quarter of an hour, reads a frame that was cut off as a whole
// one, and does not wait as long as it is told to. So it sees whole frames only, of one connection at a time;
// the cursor, the pauses and the end of it all are decided here.
package follow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"time"

	"github.com/r3labs/sse/v2"
	"gopkg.in/cenkalti/backoff.v1"
)

// silence is how long the other side may say nothing: three heartbeats of a stream.
const silence = 45 * time.Second

// A Client follows one user's stream. Its fields are not changed while it does.
type Client struct {
	URL string // of the server, with its prefix, without a slash at the end
	// Token is asked for before each connection, so that a new one may take the place of one that ends. Its
	// error ends the following.
	Token    func() (string, error)
	Query    url.Values // what of the stream is asked for: wakeup, types, channels, echo
	Snapshot bool       // begin with a snapshot also where there is a cursor
	// Notice is told, in a line of text, what goes wrong and that it is well again; nil: nobody asks. A
	// connection that ends and is there again a moment later is no news.
	Notice    func(string)
	Transport http.RoundTripper // nil: by HTTP/1.1, through the environment's proxy
}

// An Event is a frame of the stream, of which stream.* are the stream's own.
type Event struct {
	ID   string // the cursor that is reached with it; empty as long as none is
	Name string
	Data []byte // one line of JSON
}

// Follow calls handle for each event after the cursor, or, without one, for a snapshot and for each event
// from now on. An event counts once handle has returned nil; a connection that ends meanwhile does not
// repeat it. While handle runs nothing is called, and little is read.
//
// It returns handle's error, ctx's, a *Refusal, or Token's error; nothing else ends it.
func (c *Client) Follow(ctx context.Context, cursor string, handle func(Event) error) error {
	transport := c.Transport
	if transport == nil {
		own := newTransport()
		defer own.CloseIdleConnections()
		transport = own
	}
	f := &follower{
		Client: c, handle: handle, at: cursor, pause: pause{retry: defaultRetry},
		http: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse // it would take the token along
		}},
	}
	for {
		f.wasLive = false
		err := f.connect(ctx)
		if e, ok := errors.AsType[ending](err); ok {
			return e.error
		}
		if r, ok := errors.AsType[*Refusal](err); ok && f.final(r) {
			return r
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		wait := f.pause.next(retryAfter(err))
		if !f.wasLive || errors.Is(err, errForeign) {
			f.troubled = true
			f.notice("%v; trying again in %v", cause(err), wait.Round(100*time.Millisecond))
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// newTransport speaks HTTP/1.1 only: over HTTP/2 a stream that fell silent would be opened again on the same
// dead connection. Nothing is to be compressed, and so held back, on the way.
func newTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Protocols = new(http.Protocols)
	t.Protocols.SetHTTP1(true)
	t.DisableCompression = true
	return t
}

// A follower is the state of one call of Follow.
type follower struct {
	*Client
	http     *http.Client
	handle   func(Event) error
	at       string // the cursor of the last event that was handled
	token    string // of the connection
	pause    pause
	known    bool // a stream has been live: the server is the right one
	wasLive  bool // this connection has been
	troubled bool // a notice of trouble is out
}

// An ending is an error that ends the following: handle's, or Token's.
type ending struct{ error }

var (
	errSilent = fmt.Errorf("the connection is silent for %v", silence)
	errEnded  = errors.New("the connection has ended")
)

// connect follows one connection to its end, and returns why it ended.
func (f *follower) connect(ctx context.Context) (err error) {
	if f.token, err = f.Token(); err != nil {
		return ending{err}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := time.AfterFunc(silence, func() { cancel(errSilent) })
	defer silent.Stop()

	client := sse.NewClient(f.streamURL(), sse.ClientMaxBufferSize(maxFrame))
	client.Connection = f.http
	client.ReconnectStrategy = &backoff.StopBackOff{}
	client.ResponseValidator = func(_ *sse.Client, r *http.Response) error { return f.accept(r, silent) }
	client.Headers["Authorization"] = "Bearer " + f.token
	if f.at != "" {
		client.LastEventID.Store([]byte(f.at))
	}
	var stop error
	err = client.SubscribeRawWithContext(ctx, func(m *sse.Event) {
		if stop != nil || ctx.Err() != nil {
			return // it was read before the connection was given up
		}
		if stop = f.take(m); stop != nil {
			cancel(stop)
		}
	})
	switch {
	case stop != nil:
		return stop
	case ctx.Err() != nil:
		return context.Cause(ctx) // which r3labs takes for the end of the body
	case err == nil, errors.Is(err, io.ErrUnexpectedEOF):
		return errEnded
	}
	return err
}

func (f *follower) streamURL() string {
	q := url.Values{}
	maps.Copy(q, f.Query)
	if f.Snapshot && !f.known {
		q.Set("snapshot", "true")
	}
	if f.at != "" {
		q.Set("lastEventId", f.at) // some proxies let only those headers through that they know
	}
	return f.URL + "/api/stream?" + q.Encode()
}

// final reports whether coming back is of no use after r. Once a stream has been live the server is the right one,
// and only its own word is final, which has a code: any other refusal comes from something on the way to it, whose
// mood may pass.
func (f *follower) final(r *Refusal) bool {
	switch {
	case r.passes(), f.known && r.Code == "" && r.Status != noStatus:
		return false
	case r.Status == http.StatusUnauthorized:
		token, err := f.Token()
		return err != nil || token == f.token // else there is a new one
	case r.Status == http.StatusBadRequest, r.Status == http.StatusForbidden, r.Status == noStatus:
		return true
	}
	return !f.known // anything else is a proxy's word, if this is the right server
}

// cause is what went wrong, without the URL.
func cause(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

func (f *follower) notice(format string, args ...any) {
	if f.Notice != nil {
		f.Notice(fmt.Sprintf(format, args...))
	}
}
