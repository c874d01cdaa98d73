package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"fabric-guild/events/remote"
)

const (
	callTimeout = 30 * time.Second
	// maxAnswer is more than the largest wake: 1.25 MiB of text, which JSON may write six times as long.
	maxAnswer = 16 << 20
)

var errSilent = errors.New("the server did not answer in time")

// A client makes the requests of an agent.
type client struct {
	server *remote.Account
	http   *http.Client
	known  atomic.Bool // a request has succeeded, so the URL leads to the right server
}

// A tokenError means that there is no token to send.
type tokenError struct{ error }

// call makes a POST request, and decodes the answer into out unless out is nil. It tries once. An error
// answer is a *remote.Refusal.
func (c *client) call(ctx context.Context, path, key string, body, out any) error {
	token, err := c.server.Token()
	if err != nil {
		return tokenError{err}
	}
	var encoded bytes.Buffer
	enc := json.NewEncoder(&encoded)
	enc.SetEscapeHTML(false) // a body must not grow sixfold because of its brackets
	if err := enc.Encode(body); err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.server.URL+path, &encoded)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return silence(ctx, err)
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode == http.StatusUnauthorized {
		if now, err := c.server.Token(); err == nil && now != token {
			return errRenewed
		}
	}
	if answer.StatusCode >= 300 {
		return remote.ReadRefusal(answer)
	}
	b, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return silence(ctx, err)
	}
	if out != nil {
		if err := json.Unmarshal(b, out); err != nil {
			return fmt.Errorf("the answer is not JSON as it should be; is the URL right? %w", err)
		}
	}
	c.known.Store(true)
	return nil
}

var errRenewed = errors.New("the token was refused, and has been renewed since")

// silence returns the reason of an error of a request: that the time was over, if it was.
func silence(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errSilent) {
		return cause
	}
	return err
}

// passes reports whether another attempt may succeed after this error. After one success, the URL is known to
// lead to the right server; then a refusal without a code comes from a proxy on the way, and may be
// temporary.
func (c *client) passes(err error) bool {
	if _, ok := errors.AsType[tokenError](err); ok {
		return false
	}
	r, ok := errors.AsType[*remote.Refusal](err)
	return !ok || r.Passes() || r.Code == "idempotency_in_flight" || r.Code == "" && c.known.Load()
}

// persist makes a POST request again and again, always with the same key, until it succeeds, is refused for
// good, or ctx ends.
func (a *agent) persist(ctx context.Context, path, key string, body any) error {
	var backoff remote.Backoff
	backoff.SetRetry("500")
	for {
		once, cancel := context.WithTimeoutCause(ctx, callTimeout, errSilent)
		err := a.call(once, path, key, body, nil)
		cancel()
		if err == nil || !a.passes(err) || ctx.Err() != nil {
			return err
		}
		pause := backoff.Next(remote.RetryAfter(err))
		a.notice("%v; trying again in %v", remote.Cause(err), pause.Round(100*time.Millisecond))
		if !sleep(ctx, pause) {
			return err
		}
	}
}
