package follow_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/events/follow"
)

func html(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(status)
		_, _ = w.Write([]byte("<p>Sign in"))
	}
}

func problem(status int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(text))
	}
}

func closing(data string) http.HandlerFunc {
	return held(preamble, ready("7.1"), frame("stream.closing", data, ""), message("7.2"))
}

// What ends the following, at the beginning and, where that is another question, once a stream was live: then a
// strange answer comes from a proxy.
func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		name        string
		answer      http.HandlerFunc
		status      int
		text        string
		evenIfKnown bool
	}{
		{"wrong parameter", refused(400), 400, `the server answers 400 Bad Request, of_the_test: do \x1b[2J not`, true},
		{"token", refused(401), 401, `the server does not accept the token, of_the_test: do \x1b[2J not`, true},
		{"forbidden", refused(403), 403, `the server does not allow it (403), of_the_test: do \x1b[2J not`, true},
		{"token has ended", closing(`{"reason":"token_expired","reconnect":false}`), 401, `the server does not accept the token, token_expired`, true},
		{"no return", closing(`{"reason":"banned\u001b","reconnect":false}`), 0, `the server ends the stream, banned\x1b`, true},
		{"a middlebox does not like the request", html(400), 400, `the server answers 400 Bad Request`, false},
		{"a middlebox wants a sign-in", html(401), 401, `the server does not accept the token`, false},
		{"a middlebox forbids it", html(403), 403, `the server does not allow it (403)`, false},
		{"a problem without a code", problem(403, `{"status":403,"title":"Forbidden"}`), 403, `the server does not allow it (403)`, false},
		{"unknown", refused(404), 404, `the server answers 404 Not Found, of_the_test: do \x1b[2J not`, false},
		{"not here", refused(410), 410, `the server answers 410 Gone, of_the_test: do \x1b[2J not`, false},
		{"stop", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, 204, `the server answers 204 No Content`, false},
		{"a page", html(200), 200, `the server answers 200 OK: this is text/html and no stream; is the URL right?`, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				_, c := serve(t, refused(502), tt.answer)
				err := c.Follow(t.Context(), "", func(follow.Event) error { return nil })
				r, ok := errors.AsType[*follow.Refusal](err)
				if !ok || r.Status != tt.status || err.Error() != tt.text {
					t.Errorf("got %v, want %d and %s", err, tt.status, tt.text)
				}
				if tt.evenIfKnown {
					_, c := serve(t, stream(preamble, ready("7.0"), live("7.0")), tt.answer)
					if again := c.Follow(t.Context(), "", func(follow.Event) error { return nil }); again == nil || again.Error() != tt.text {
						t.Errorf("once it was live: got %v, want the same", again)
					}
					return
				}
				_, c = serve(t, stream(preamble, ready("7.0")), tt.answer, tt.answer, held(preamble, resumed("7.0"), message("7.1")))
				if diff := cmp.Diff([]string{"7.1"}, collect(t, c, "", "7.1")); diff != "" {
					t.Errorf("once it was live: events (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestWhatPasses(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var answers []http.HandlerFunc
		for _, status := range []int{408, 425, 429, 500, 501, 502, 503, 504, 520} {
			answers = append(answers, refused(status), html(status))
		}
		_, c := serve(t, append(answers, held(preamble, ready("7.0"), message("7.1")))...)
		collect(t, c, "", "7.1")
	})
}

// An answer that is no stream is given up, also where it never ends.
func TestEndlessRefusals(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		left := 0
		endless := func(answer http.HandlerFunc) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				answer(w, r)
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
				left++
			}
		}
		_, c := serve(t, endless(html(502)), endless(refused(502)), func(w http.ResponseWriter, r *http.Request) {
			if left != 2 {
				t.Errorf("got %d answers left, want both before the next connection", left)
			}
			held(preamble, ready("7.0"), message("7.1"))(w, r)
		})
		began := time.Now()
		collect(t, c, "", "7.1")
		if took := time.Since(began); took < follow.Silence || took > follow.Silence+10*s {
			t.Errorf("got the stream after %v, want it when the second had been silent for %v", took, follow.Silence)
		}
	})
}

// The token goes to the server that was named and to no other, not even one of the same host.
func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	foreign := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("got a request of %s with %q, want none", r.URL, r.Header["Authorization"])
	}))
	defer foreign.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		server := httptest.NewServer(http.RedirectHandler(foreign.URL+"/elsewhere/api/stream?a=b", status))
		c := follow.Client{URL: server.URL, Token: func() (string, error) { return "secret", nil }}
		err := c.Follow(t.Context(), "", func(follow.Event) error { return nil })
		if r, ok := errors.AsType[*follow.Refusal](err); !ok || r.Status != status || !strings.Contains(r.Detail, foreign.URL+"/elsewhere,") {
			t.Errorf("got %v, want %d and where it leads", err, status)
		}
		server.Close()
	}
}

// A token that is renewed in time, or just too late, goes on.
func TestRenewedToken(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		tokens := []string{"a", "b", "b", "c", "c", "d"} // as they are asked for: for each connection, after each refusal
		asked := 0
		s, c := serve(t,
			closing(`{"reason":"token_expired","reconnect":false}`), refused(401), // of a and b
			stream(preamble, resumed("7.1"), live("7.1")), refused(401)) // of c and d
		c.Token = func() (string, error) {
			asked++
			return tokens[min(asked, len(tokens))-1], nil
		}
		err := c.Follow(t.Context(), "", func(follow.Event) error { return nil })
		var got []string
		for _, r := range s.requests {
			got = append(got, r.Header.Get("Authorization"))
		}
		if diff := cmp.Diff([]string{"Bearer a", "Bearer b", "Bearer c", "Bearer d"}, got); diff != "" {
			t.Errorf("tokens (-want +got):\n%s", diff)
		}
		if r, ok := errors.AsType[*follow.Refusal](err); !ok || r.Status != 401 {
			t.Errorf("got %v, want that d is refused", err)
		}
	})
}

func TestNoToken(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		_, c := serve(t)
		want := errors.New("no such file")
		c.Token = func() (string, error) { return "", want }
		if got := c.Follow(t.Context(), "", func(follow.Event) error { return nil }); got != want {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}
