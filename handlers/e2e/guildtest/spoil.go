package guildtest

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// A Spoiler is a proxy that harms requests which post a message: it loses answers, and it answers some
// requests itself, as a proxy that is overloaded or wants a login does.
type Spoiler struct {
	*httptest.Server

	mu    sync.Mutex
	posts map[string][]string // bodies by key
	turns int
}

// NewSpoiler starts a Spoiler before a server. It ends with the test.
func NewSpoiler(t testing.TB, upstream string) *Spoiler {
	t.Helper()
	to, err := url.Parse(upstream)
	if err != nil {
		t.Fatal(err)
	}
	s := &Spoiler{posts: map[string][]string{}}
	through := httputil.NewSingleHostReverseProxy(to)
	through.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) {
		w.WriteHeader(http.StatusBadGateway)
	}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/messages") {
			through.ServeHTTP(w, r)
			return
		}
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(b))
		switch turn := s.note(r, string(b)); turn % 6 {
		case 1, 3: // the post is stored, and the answer is lost
			through.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		case 2:
			w.WriteHeader([]int{401, 403, 404, 429, 502, 503}[turn/6%6])
		default:
			through.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// note records a post, and returns how many there were.
func (s *Spoiler) note(r *http.Request, body string) int {
	key := r.Header.Get("Idempotency-Key")
	if key == "" {
		key = body // which has the wake's id
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.posts[key] = append(s.posts[key], body)
	s.turns++
	return s.turns
}

// Posts returns the bodies of all posts by their Idempotency-Key; a post without one is its own key.
func (s *Spoiler) Posts() map[string][]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.posts)
}
