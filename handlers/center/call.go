package center

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// maxAnswer bounds an answer's body, in bytes.
const maxAnswer = 64 << 10

// call asks an endpoint, for timeout at most, and has read take the answer. All three calls are questions, so
// one that met a connection Center was just closing is asked again. The error is a failure, which has been
// counted, or the reason why ctx ended.
func (c *Client) call(ctx context.Context, to *endpoint, body []byte, read func(answer []byte) *failure) error {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	to.calls.Add(1)
	began := time.Now()
	defer func() { to.took.Observe(time.Since(began)) }()
	answer, f := c.exchange(limited, to, body)
	if f == nil {
		f = read(answer)
	}
	switch {
	case f == nil:
		to.answered.Add(1)
		return nil
	case ctx.Err() != nil:
		to.abandoned.Add(1)
		return context.Cause(ctx) // who asked is gone; that says nothing of Center
	}
	to.failures[f.reason].Add(1)
	return f
}

// exchange goes to the transport directly: a redirect is an answer like any other, and no error quotes its
// Location.
func (c *Client) exchange(ctx context.Context, to *endpoint, body []byte) ([]byte, *failure) {
	req, err := http.NewRequestWithContext(ctx, to.method, c.base.JoinPath(to.path).String(), bytes.NewReader(body))
	if err != nil {
		return nil, &failure{invalid, "the request cannot be made"}
	}
	req.Header.Set("X-Api-Key", c.apiKey)
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header["Idempotency-Key"] = nil // net/http: may be repeated; nothing is sent
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return nil, lost(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == http.StatusSwitchingProtocols {
		// The body is the bare connection now, which no end of ctx interrupts.
		return nil, &failure{status, "it switches protocols unasked"}
	}
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1)) // to its end, so that the connection stays
	switch {
	case resp.StatusCode >= 300 && resp.StatusCode <= 399:
		return nil, &failure{redirect, fmt.Sprintf("it redirects (status %d)", resp.StatusCode)}
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		return nil, &failure{status, fmt.Sprintf("it answers with status %d", resp.StatusCode)}
	case len(answer) > maxAnswer:
		return nil, &failure{invalid, fmt.Sprintf("its answer is larger than %d bytes", maxAnswer)}
	case err != nil:
		return nil, lost(ctx, err)
	}
	return answer, nil
}

// lost is the failure of a connection. Of net/http's own errors nothing is quoted, since they quote the peer.
func lost(ctx context.Context, err error) *failure {
	if ctx.Err() != nil {
		return &failure{timedOut, fmt.Sprintf("no answer within %v", timeout)}
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return &failure{unreachable, e.Error()}
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		return &failure{unreachable, e.Error()}
	}
	return &failure{unreachable, "the connection broke, or its answer is not HTTP"}
}
