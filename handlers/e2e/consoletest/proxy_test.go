package consoletest

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// A proxy stands between a browser and a node, and does what proxies do.
type proxy struct {
	url string

	mu      sync.Mutex
	down    bool          // every request is answered with 502
	swallow bool          // the answers to posts do not come through
	held    chan struct{} // requests to the API wait until it is closed; nil: none does
	forged  string        // the cursor that the next stream is asked for instead of its own
	refused int           // requests for a stream, while it is down
	opened  int           // streams
	streams map[*proxied]struct{}
}

// A proxied stream is the body of its answer.
type proxied struct {
	io.ReadCloser
	proxy   *proxy
	cut     chan struct{}
	stalled chan struct{} // closed: nothing comes through any more
	once    sync.Once
}

func newProxy(t *testing.T, n *guild) *proxy {
	t.Helper()
	base, err := url.Parse(strings.TrimSuffix(n.url, n.basePath))
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{streams: map[*proxied]struct{}{}}
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	reverse := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(base)
			r.Out.Host = r.In.Host
			p.forge(r.Out)
		},
		Transport:      transport,
		ModifyResponse: p.note,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			w.WriteHeader(http.StatusBadGateway)
		},
		ErrorLog: log.New(io.Discard, "", 0),
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.isDown(r) {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(http.StatusBadGateway)
			_, _ = io.WriteString(w, "<html><h1>502 Bad Gateway</h1></html>")
			return
		}
		p.hold(r)
		reverse.ServeHTTP(w, r)
	}))
	p.url = server.URL + n.basePath
	t.Cleanup(func() {
		p.cut()
		server.CloseClientConnections()
		server.Close()
		transport.CloseIdleConnections()
	})
	return p
}

func (p *proxy) isDown(r *http.Request) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down && strings.HasSuffix(r.URL.Path, "/api/stream") {
		p.refused++
	}
	return p.down
}

// hold has a request wait while it is to.
func (p *proxy) hold(r *http.Request) {
	p.mu.Lock()
	held := p.held
	p.mu.Unlock()
	if held == nil || !strings.Contains(r.URL.Path, "/api/") {
		return
	}
	select {
	case <-held:
	case <-r.Context().Done():
	}
}

// holdBack has requests to the API wait from now on, until they pass.
func (p *proxy) holdBack(t *testing.T) (letThrough func()) {
	held := make(chan struct{})
	p.set(func() { p.held = held })
	letThrough = sync.OnceFunc(func() {
		p.set(func() { p.held = nil })
		close(held)
	})
	t.Cleanup(letThrough)
	return letThrough
}

// forge replaces the cursor of a stream's request, once.
func (p *proxy) forge(r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if q := r.URL.Query(); p.forged != "" && q.Has("lastEventId") {
		q.Set("lastEventId", p.forged)
		r.URL.RawQuery, p.forged = q.Encode(), ""
	}
}

func (p *proxy) note(resp *http.Response) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.swallow && resp.Request.Method == http.MethodPost {
		return errByProxy
	}
	if resp.Header.Get("Content-Type") != "text/event-stream" {
		return nil
	}
	s := &proxied{ReadCloser: resp.Body, proxy: p, cut: make(chan struct{}), stalled: make(chan struct{})}
	resp.Body = s
	p.opened++
	p.streams[s] = struct{}{}
	return nil
}

func (s *proxied) Read(b []byte) (int, error) {
	n, err := s.ReadCloser.Read(b)
	select {
	case <-s.stalled:
		<-s.cut
		return 0, errByProxy
	default:
		return n, err
	}
}

var errByProxy = errors.New("cut by the proxy")

func (s *proxied) Close() error {
	s.end()
	return s.ReadCloser.Close()
}

func (s *proxied) end() {
	s.once.Do(func() {
		close(s.cut)
		s.proxy.mu.Lock()
		defer s.proxy.mu.Unlock()
		delete(s.proxy.streams, s)
	})
}

// cut ends all streams.
func (p *proxy) cut() {
	for _, s := range p.open() {
		s.end()
		_ = s.ReadCloser.Close()
	}
}

// stall lets nothing through on the streams that are open, and leaves their connections as they are.
func (p *proxy) stall() {
	for _, s := range p.open() {
		close(s.stalled)
	}
}

func (p *proxy) open() (all []*proxied) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.streams {
		all = append(all, s)
	}
	return all
}

// set changes what the proxy does.
func (p *proxy) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

// fail answers everything with 502, or no longer, and ends what is open.
func (p *proxy) fail(down bool) {
	p.set(func() { p.down = down })
	if down {
		p.cut()
	}
}

func (p *proxy) counts() (opened, open, refused int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.opened, len(p.streams), p.refused
}
