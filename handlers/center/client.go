// Package center is the client of Center. Center is an external service that knows which user a token
// belongs to, which user has which name, and who the admin is.
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

// timeout is the maximum duration of one call, from its start to the last byte of its answer.
const timeout = 2 * time.Second

// maxConns is the maximum number of connections to Center. When Center hangs, further calls wait and time
// out.
const maxConns = 64

// A Client calls Center. It is safe for concurrent use. Errors and log lines never contain a token, the API
// key, a name, or any part of an answer.
type Client struct {
	base      *url.URL
	apiKey    string
	logger    *slog.Logger
	transport *http.Transport

	introspect   endpoint
	resolveNames endpoint
	adminEmail   endpoint
	gate         *gate

	ctx    context.Context // used by the flights; Close ends it
	stop   context.CancelFunc
	flying sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	flights  map[tokenKey]*flight
	active   *tokenCache
	inactive *tokenCache
	down     bool // the last introspection failed
}

// New returns a client of the Center at baseURL. The scheme of baseURL must be http or https. Its path is
// kept as a prefix. The client connects at its first call. It ignores proxy settings, because a proxy must
// not see the API key. The caller must close the client.
func New(baseURL, apiKey string, logger *slog.Logger) (*Client, error) {
	base, err := url.Parse(baseURL)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Hostname() == "" ||
		base.User != nil || base.RawQuery != "" || base.ForceQuery || base.Fragment != "" {
		// Quote neither the URL nor the parser's error: both may contain a password.
		return nil, errors.New("the base URL of Center must be http:// or https://, a host, and " +
			"optionally a path")
	}
	if !visible(apiKey) {
		return nil, errors.New("the API key of Center must be visible ASCII characters without spaces " +
			"or line ends")
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

// Close cancels the running introspections and returns when they have ended. Later introspections return
// ErrUnavailable. Close may be called more than once. An AdminCache of this client must be closed first.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.stop()
	c.flying.Wait()
	c.transport.CloseIdleConnections()
}

// visible reports whether s can be sent in a header unchanged: it has at least one character, and all are
// visible ASCII.
func visible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != ""
}
