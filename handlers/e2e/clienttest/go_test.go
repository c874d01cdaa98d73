package clienttest

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"time"

	launchdarklysse "github.com/launchdarkly/eventsource"
	r3labssse "github.com/r3labs/sse/v2"
	tmaxmaxsse "github.com/tmaxmax/go-sse"
	"gopkg.in/cenkalti/backoff.v1"
)

func request(ctx context.Context, t *testing.T, url, token string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

func launchdarkly(t *testing.T, url, token string, hear func(event)) {
	t.Helper()
	loop(t, func(ctx context.Context) {
		stream, err := launchdarklysse.SubscribeWithRequestAndOptions(request(ctx, t, url, token),
			launchdarklysse.StreamOptionErrorHandler(
				func(error) (r launchdarklysse.StreamErrorHandlerResult) { return r },
			))
		if err != nil {
			t.Errorf("launchdarkly/eventsource: %v", err)
			return
		}
		defer stream.Close()
		for {
			select {
			case e := <-stream.Events:
				if e.Data() != "" { // this client also passes on a single "retry:" as an event
					hear(event{e.Event(), e.Id(), json.RawMessage(e.Data())})
				}
			case <-ctx.Done():
				return
			}
		}
	})
}

// tmaxmax returns a client. It takes an incomplete frame at the end of a connection for an event, and gives
// up after any answer but 200.
func tmaxmax(transport http.RoundTripper) func(*testing.T, string, string, func(event)) {
	return func(t *testing.T, url, token string, hear func(event)) {
		t.Helper()
		client := tmaxmaxsse.Client{HTTPClient: &http.Client{Transport: transport}}
		id := ""
		loop(t, func(ctx context.Context) {
			conn := client.NewConnection(request(ctx, t, url+"?lastEventId="+id, token))
			conn.SubscribeToAll(func(e tmaxmaxsse.Event) {
				if e.Data != "" {
					id = e.LastEventID
					hear(event{e.Type, e.LastEventID, json.RawMessage(e.Data)})
				}
			})
			_ = conn.Connect()
		})
	}
}

// r3labs returns a client. It does not reconnect after the end of a stream, and also takes an incomplete
// frame at the end for an event.
func r3labs(transport http.RoundTripper) func(*testing.T, string, string, func(event)) {
	return func(t *testing.T, url, token string, hear func(event)) {
		t.Helper()
		client := r3labssse.NewClient(url)
		client.Headers["Authorization"] = "Bearer " + token
		client.Connection = &http.Client{Transport: transport}
		client.ReconnectStrategy = &backoff.StopBackOff{}
		loop(t, func(ctx context.Context) {
			_ = client.SubscribeRawWithContext(ctx, func(e *r3labssse.Event) {
				hear(event{string(e.Event), string(e.ID), json.RawMessage(e.Data)})
			})
		})
	}
}

// loop calls follow in a goroutine again and again until the test ends.
func loop(t *testing.T, follow func(ctx context.Context)) {
	t.Helper()
	done := make(chan struct{})
	t.Cleanup(func() { <-done })
	ctx := t.Context()
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			follow(ctx)
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
		}
	}()
}

// wholeFrames is a transport that cuts incomplete frames off the end of bodies.
type wholeFrames struct{}

func (wholeFrames) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err == nil {
		answer.Body = &wholeBody{ReadCloser: answer.Body, lines: bufio.NewReader(answer.Body)}
	}
	return answer, err
}

type wholeBody struct {
	io.ReadCloser
	lines        *bufio.Reader
	begun, whole []byte
}

func (b *wholeBody) Read(p []byte) (int, error) {
	for len(b.whole) == 0 {
		line, err := b.lines.ReadBytes('\n')
		if err != nil {
			return 0, err
		}
		b.begun = append(b.begun, line...)
		if len(line) == 1 { // a blank line ends a frame
			b.whole = b.begun
			b.begun = nil
		}
	}
	n := copy(p, b.whole)
	b.whole = b.whole[n:]
	return n, nil
}
