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

// maxAnswer is the maximum size of an answer's body, in bytes.
const maxAnswer = 64 << 10

// call calls an endpoint and passes the body of the answer to read. It blocks for at most timeout. All three
// endpoints only read, so net/http may repeat a call when Center was just closing the connection. The error
// is a failure, which call has counted, or the cause of the end of ctx.
func (c *Client) call(
	ctx context.Context, to *endpoint, body []byte, read func(answer []byte) *failure,
) error {
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
		return context.Cause(ctx) // the caller went away, which says nothing about Center
	}
	to.failures[f.reason].Add(1)
	return f
}

// exchange sends a request and returns the body of the answer. It uses the transport directly and not an
// http.Client. So a redirect is an answer like any other, and no error quotes its Location.
func (c *Client) exchange(ctx context.Context, to *endpoint, body []byte) ([]byte, *failure) {
	url := c.base.JoinPath(to.path).String()
	req, err := http.NewRequestWithContext(ctx, to.method, url, bytes.NewReader(body))
	if err != nil {
		return nil, &failure{invalid, "cannot create the request"}
	}
	req.Header.Set("X-Api-Key", c.apiKey)
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	// This tells net/http that it may repeat the request. The header itself is not sent.
	req.Header["Idempotency-Key"] = nil
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return nil, lost(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == http.StatusSwitchingProtocols {
		// The body is now the raw connection. The end of ctx does not interrupt reading from it.
		return nil, &failure{status, "it switches protocols although nobody asked for it"}
	}
	// Read the body to its end, so that the connection can be used again.
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
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

// lost returns the failure for a connection error. It does not quote the errors of net/http itself, because
// they quote what Center sent.
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
