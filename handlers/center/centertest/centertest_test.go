package centertest_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"fabric-guild/handlers/center/centertest"
)

// A witness is a testing.TB that records its errors.
type witness struct {
	testing.TB
	mu     sync.Mutex
	errors []string
}

func (w *witness) Errorf(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.errors = append(w.errors, fmt.Sprintf(format, args...))
}

func ask(ctx context.Context, t *testing.T, method, url, key, body string) (int, string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("X-Api-Key", key)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(answer), err
}

// A wrong call of a client is an error of the test.
func TestWrongCalls(t *testing.T) {
	t.Parallel()
	const introspect = "/api/auth/introspect"
	for name, tt := range map[string]struct {
		method, path, body string
		key                bool
		status             int
		errors             string
	}{
		"right":         {"POST", introspect, `{"token":"t"}`, true, 200, ""},
		"no key":        {"POST", introspect, `{"token":"t"}`, false, 401, "x-api-key"},
		"wrong method":  {"GET", introspect, "", true, 404, "GET /center/api"},
		"wrong path":    {"POST", introspect + "/", `{"token":"t"}`, true, 404, "POST /center/api"},
		"query":         {"POST", introspect + "?token=t", `{"token":"t"}`, true, 404, "POST /center/api"},
		"unknown field": {"POST", introspect, `{"token":"t","x":1}`, true, 400, "malformed"},
		"no token":      {"POST", introspect, `{}`, true, 400, "malformed"},
		"no JSON":       {"POST", "/api/auth/resolve-names", "names", true, 400, "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &witness{TB: t}
			s := centertest.New(w)
			key := ""
			if tt.key {
				key = s.APIKey
			}
			status, _, err := ask(t.Context(), t, tt.method, s.URL+tt.path, key, tt.body)
			if err != nil || status != tt.status {
				t.Errorf("got %d, %v, want %d", status, err, tt.status)
			}
			s.Close()
			got := strings.Join(w.errors, "; ")
			if (got == "") != (tt.errors == "") || !strings.Contains(got, tt.errors) {
				t.Errorf("got errors %q, want %q", got, tt.errors)
			}
		})
	}
}

func TestCallsOutsideThePrefixFail(t *testing.T) {
	t.Parallel()
	w := &witness{TB: t}
	s := centertest.New(w)
	url := strings.TrimSuffix(s.URL, "/center") + "/api/auth/admin-email"
	status, _, err := ask(t.Context(), t, "GET", url, s.APIKey, "")
	if err != nil || status != 404 {
		t.Errorf("got %d, %v, want 404", status, err)
	}
	s.Close()
	if got, want := len(w.errors), 1; got != want {
		t.Errorf("got %d errors, want %d", got, want)
	}
}

// Calls hang until they are released, their client goes away, or the server closes.
func TestHang(t *testing.T) {
	t.Parallel()
	s := centertest.New(t)
	s.SetAdmin("ada@example.org", "ada")
	release := s.Hang(centertest.AdminEmail)
	adminEmail := func(ctx context.Context) (int, string, error) {
		return ask(ctx, t, "GET", s.URL+"/api/auth/admin-email", s.APIKey, "")
	}
	ctx, cancel := context.WithCancel(t.Context())
	var gone, calls sync.WaitGroup
	gone.Go(func() {
		if _, _, err := adminEmail(ctx); err == nil {
			t.Error("got an answer, want none")
		}
	})
	s.WaitCalls(centertest.AdminEmail, 1)
	calls.Go(func() {
		status, answer, err := adminEmail(t.Context())
		want := `{"email":"ada@example.org","userId":"ada"}` + "\n"
		if err != nil || status != 200 || answer != want {
			t.Errorf("got %d %q, %v, want 200 %q", status, answer, err, want)
		}
	})
	s.WaitCalls(centertest.AdminEmail, 2)
	cancel()
	gone.Wait()
	release()
	release()
	calls.Wait()
	s.Hang()
	calls.Go(func() {
		if _, _, err := adminEmail(t.Context()); err == nil {
			t.Error("got an answer, want none")
		}
	})
	s.WaitCalls(centertest.AdminEmail, 3)
	s.Close()
	calls.Wait()
}
