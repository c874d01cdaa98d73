package centertest

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
)

// A Fault makes a call go wrong. If it returns true, it has written nothing and the call is answered as
// usual.
type Fault func(w http.ResponseWriter, r *http.Request) (proceed bool)

// Break applies a fault to every later call of the given endpoints, or of all endpoints if none is given.
func (s *Server) Break(f Fault, of ...Endpoint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(of) == 0 {
		of = Endpoints
	}
	for _, e := range of {
		s.faults[e] = f
	}
}

// Mend undoes Break and Hang for later calls of the given endpoints, or of all endpoints if none is given.
func (s *Server) Mend(of ...Endpoint) { s.Break(nil, of...) }

// Hang makes calls of the given endpoints wait until release is called or the client goes away. Released
// calls and later calls are answered with the state at that time. release may be called more than once.
func (s *Server) Hang(of ...Endpoint) (release func()) {
	released := make(chan struct{})
	s.Break(func(_ http.ResponseWriter, r *http.Request) bool {
		select {
		case <-released:
			return true
		case <-r.Context().Done():
			panic(http.ErrAbortHandler) // returning would answer 200
		}
	}, of...)
	return sync.OnceFunc(func() { close(released) })
}

// Status answers with a status and a body that is not JSON.
func Status(code int) Fault {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(code)
		_, _ = io.WriteString(w, "<html>sorry</html>\n")
		return false
	}
}

// Redirect answers with a 3xx status and a Location of the same endpoint below another base URL.
func Redirect(code int, baseURL string) Fault {
	return func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Location", baseURL+strings.TrimPrefix(r.URL.Path, prefix))
		w.WriteHeader(code)
		return false
	}
}

// Answer answers with 200 and this body.
func Answer(body string) Fault {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, body)
		return false
	}
}

// Oversized answers with 200 and a body of one MiB of spaces that does not end until the client closes the
// connection.
func Oversized(w http.ResponseWriter, r *http.Request) bool {
	w.Header().Set("Content-Type", "application/json")
	if _, err := w.Write(bytes.Repeat([]byte(" "), 1<<20)); err == nil {
		<-r.Context().Done()
	}
	return false
}

// Raw writes bytes in place of an HTTP answer. Then it closes the connection, or with keep leaves it open
// until the client or the server closes it.
func Raw(answer string, keep bool) Fault {
	return func(w http.ResponseWriter, r *http.Request) bool {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return false
		}
		defer context.AfterFunc(r.Context(), func() { _ = conn.Close() })()
		defer func() { _ = conn.Close() }()
		if _, err := io.WriteString(conn, answer); err == nil && keep {
			_, _ = io.Copy(io.Discard, conn)
		}
		return false
	}
}

// Once applies a fault only to the first call.
func Once(f Fault) Fault {
	var once sync.Once
	return func(w http.ResponseWriter, r *http.Request) bool {
		proceed := true
		once.Do(func() { proceed = f(w, r) })
		return proceed
	}
}
