// Package follow is the client of a stream. It follows a user's events for ever: it reconnects after every
// end of a connection, and handles each event once, in the order of the event log.
//
// The client of r3labs/sse reads one connection. This package works around its faults: the client does not
// reconnect after the end of a body, gives up after a quarter of an hour, takes a frame that was cut off for
// a complete one, and does not wait as long as the server asks. So the client of r3labs gets only complete
// frames, of one connection. This package keeps the cursor, computes the backoff, and decides when to stop.
package follow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"time"

	"github.com/r3labs/sse/v2"
	"gopkg.in/cenkalti/backoff.v1"

	"fabric-guild/events/remote"
)

// silence is how long a connection may be silent before the client drops it. It is three heartbeats of a
// stream.
const silence = 45 * time.Second

// A Client follows one user's stream. The caller must not change its fields while Follow runs.
type Client struct {
	URL string // of the server, with its prefix, without a slash at the end
	// Token returns the token. Follow calls it before each connection, so that a new token can replace one
	// that ends. An error of Token ends Follow.
	Token    func() (string, error)
	Query    url.Values // parameters of the stream: wakeup, types, channels, echo
	Snapshot bool       // begin with a snapshot even if there is a cursor
	// Notice is called with one line of text when something goes wrong, and again when the stream works
	// again. It may be nil. Follow does not report a connection that was live and ends: that is normal.
	Notice    func(string)
	Transport http.RoundTripper // nil: HTTP/1.1, through the proxy of the environment
}

// An Event is a frame of the stream. Events with a name stream.* are about the stream itself.
type Event struct {
	ID   string // the cursor after this event; empty before the stream has one
	Name string
	Data []byte // one line of JSON
}

// Follow calls handle for each event after the cursor. Without a cursor, it calls handle for a snapshot and
// for each event from now on. An event counts as handled when handle returns nil: Follow does not repeat it,
// even if the connection ends meanwhile. Follow never runs two calls of handle at the same time. While handle
// runs, Follow reads almost nothing.
//
// Follow blocks until it fails. It returns the error of handle, of ctx or of Token, or a *remote.Refusal. It
// retries after any other error.
func (c *Client) Follow(ctx context.Context, cursor string, handle func(Event) error) error {
	transport := c.Transport
	if transport == nil {
		own := remote.NewTransport()
		defer own.CloseIdleConnections()
		transport = own
	}
	f := &follower{
		Client: c,
		handle: handle,
		at:     cursor,
		http:   remote.NewHTTPClient(transport),
	}
	for {
		f.wasLive = false
		err := f.connect(ctx)
		if e, ok := errors.AsType[ending](err); ok {
			return e.error
		}
		if r, ok := errors.AsType[*remote.Refusal](err); ok && f.final(r) {
			return r
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		wait := f.backoff.Next(remote.RetryAfter(err))
		if !f.wasLive || errors.Is(err, errForeign) {
			f.troubled = true
			f.notice("%v; trying again in %v", remote.Cause(err), wait.Round(100*time.Millisecond))
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// A follower is the state of one call of Follow.
type follower struct {
	*Client
	http     *http.Client
	handle   func(Event) error
	at       string // the cursor of the last handled event
	token    string // of the current connection
	backoff  remote.Backoff
	known    bool // a stream has been live, so the URL leads to the right server
	wasLive  bool // the current connection has been live
	troubled bool // the last notice was about trouble
}

// An ending is an error of handle or of Token. It ends Follow.
type ending struct{ error }

var (
	errSilent = fmt.Errorf("the connection was silent for %v", silence)
	errEnded  = errors.New("the connection ended")
)

// connect opens one connection, blocks until it ends, and returns why it ended.
func (f *follower) connect(ctx context.Context) (err error) {
	f.token, err = f.Token()
	if err != nil {
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
			return // r3labs read this event before connect gave the connection up
		}
		if stop = f.take(m); stop != nil {
			cancel(stop)
		}
	})
	switch {
	case stop != nil:
		return stop
	case ctx.Err() != nil:
		return context.Cause(ctx) // r3labs reports the end of a context like the end of the body
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
		q.Set("lastEventId", f.at) // some proxies drop headers that they do not know
	}
	return f.URL + "/api/stream?" + q.Encode()
}

// final reports whether a retry after r is useless. After a stream was live, the URL is known to lead to the
// right server. Then only the server's own refusal is final, and that has a code. A refusal without a code
// comes from a proxy on the way, and may be temporary.
func (f *follower) final(r *remote.Refusal) bool {
	switch {
	case r.Passes(), f.known && r.Code == "" && r.Status != remote.NoStatus:
		return false
	case r.Status == http.StatusUnauthorized:
		token, err := f.Token()
		return err != nil || token == f.token // a retry is useful if there is a new token
	case r.Status == http.StatusBadRequest, r.Status == http.StatusForbidden, r.Status == remote.NoStatus:
		return true
	}
	return !f.known // if this is the right server, any other answer is a proxy's
}

// accept checks the answer. It wraps the body of a stream for r3labs. For any other answer it returns a
// *remote.Refusal and closes the body, because r3labs does not close it after an error.
func (f *follower) accept(answer *http.Response, silent *time.Timer) error {
	kind, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	if answer.StatusCode == http.StatusOK && kind == "text/event-stream" {
		answer.Body = &body{ReadCloser: answer.Body, silent: silent}
		return nil
	}
	defer func() { _ = answer.Body.Close() }()
	r := remote.ReadRefusal(answer)
	if answer.StatusCode == http.StatusOK {
		r.Detail = "this is " + kind + ", not a stream; is the URL right?"
	}
	return r
}

func (f *follower) notice(format string, args ...any) {
	if f.Notice != nil {
		f.Notice(fmt.Sprintf(format, args...))
	}
}
