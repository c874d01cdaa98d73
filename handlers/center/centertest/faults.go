package centertest

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
)

// A Fault is what goes wrong with a call. It answers true when nothing did after all, and has written nothing
// then.
type Fault func(w http.ResponseWriter, r *http.Request) (proceed bool)

// Break makes every call of the endpoints go wrong from now on; of all of them, if none is named.
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

// Mend undoes Break and Hang for the calls to come; of all endpoints, if none is named.
func (s *Server) Mend(of ...Endpoint) { s.Break(nil, of...) }

// Hang makes calls of the endpoints wait until they are released, or their client is gone. Released calls, and
// later ones, are answered by what is true then. Releasing twice does no harm.
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

// Status answers with a status and no body that says anything.
func Status(code int) Fault {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(code)
		_, _ = io.WriteString(w, "<html>sorry</html>\n")
		return false
	}
}

// Redirect answers with a 3xx that leads to the same endpoint below another base URL.
func Redirect(code int, baseURL string) Fault {
	return func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Location", baseURL+strings.TrimPrefix(r.URL.Path, prefix))
		w.WriteHeader(code)
		return false
	}
}

// Answer answers 200 and this body.
func Answer(body string) Fault {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, body)
		return false
	}
}

// Oversized answers 200 and a MiB of blanks, and then waits for more until the client has enough.
func Oversized(w http.ResponseWriter, r *http.Request) bool {
	w.Header().Set("Content-Type", "application/json")
	if _, err := w.Write(bytes.Repeat([]byte(" "), 1<<20)); err == nil {
		<-r.Context().Done()
	}
	return false
}

// Raw writes bytes in the place of an HTTP answer, and then closes the connection, or keeps it until the client
// or the server closes it.
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

// Once lets a fault happen to the first call only.
func Once(f Fault) Fault {
	var once sync.Once
	return func(w http.ResponseWriter, r *http.Request) bool {
		proceed := true
		once.Do(func() { proceed = f(w, r) })
		return proceed
	}
}
