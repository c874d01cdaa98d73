// Package center is the client of Center, the authority outside that knows whose a token is, who is called
// what, and who the admin is.
package center

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// timeout is how long one call may take, from its start to the last byte of its answer.
const timeout = 2 * time.Second

// maxConns bounds the connections to Center. When it hangs, what would be more waits and times out.
const maxConns = 64

// A Client asks Center. It is safe for concurrent use. Errors and log lines never hold a token, the API key, a
// name, or anything of an answer.
type Client struct {
	base      *url.URL
	apiKey    string
	logger    *slog.Logger
	transport *http.Transport

	introspect, resolveNames, adminEmail endpoint
	gate                                 *gate

	ctx    context.Context // of the flights; ends at Close
	stop   context.CancelFunc
	flying sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	flights  map[tokenKey]*flight
	active   *tokenCache
	inactive *tokenCache
	down     bool // the last introspection failed
}

// New returns a client of the Center at baseURL, which is http or https and keeps its path as a prefix. It
// connects with the first call, and straight: no proxy is to see the API key.
func New(baseURL, apiKey string, logger *slog.Logger) (*Client, error) {
	base, err := url.Parse(baseURL)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Hostname() == "" ||
		base.User != nil || base.RawQuery != "" || base.ForceQuery || base.Fragment != "" {
		// Neither the URL nor what the parser says of it: it may hold a password.
		return nil, errors.New("the base URL of Center is to be http:// or https://, a host, and at most a path")
	}
	if !visible(apiKey) {
		return nil, errors.New("the API key of Center is to be visible ASCII, without blanks or line ends")
	}
	c := &Client{
		base: base, apiKey: apiKey, logger: logger,
		transport: &http.Transport{
			DialContext:            (&net.Dialer{Timeout: timeout}).DialContext,
			TLSHandshakeTimeout:    timeout,
			ForceAttemptHTTP2:      true,
			MaxConnsPerHost:        maxConns,
			MaxIdleConnsPerHost:    maxConns,
			IdleConnTimeout:        30 * time.Second,
			MaxResponseHeaderBytes: 32 << 10,
		},
		introspect:   endpoint{method: http.MethodPost, path: "/api/auth/introspect"},
		resolveNames: endpoint{method: http.MethodPost, path: "/api/auth/resolve-names"},
		adminEmail:   endpoint{method: http.MethodGet, path: "/api/auth/admin-email"},
		gate:         newGate(),
		flights:      map[tokenKey]*flight{},
		active:       newTokenCache(maxActive),
		inactive:     newTokenCache(maxInactive),
	}
	c.ctx, c.stop = context.WithCancel(context.Background())
	return c, nil
}

// Close ends the introspections under way and returns when they have ended; later ones are ErrUnavailable.
// It may be called more than once. An AdminCache on this client is closed first.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.stop()
	c.flying.Wait()
	c.transport.CloseIdleConnections()
}

// visible reports whether s can stand in a header as it is: one or more of visible ASCII.
func visible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != ""
}
