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
	"fabric-guild/events/remote"
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

// These answers end Follow when they come first. If a stream was live before, some of them do not end it any
// more, because they must come from a proxy.
func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		name        string
		answer      http.HandlerFunc
		status      int
		text        string
		evenIfKnown bool // ends Follow even if a stream was live before
	}{
		{
			name: "wrong parameter", answer: refused(400), status: 400, evenIfKnown: true,
			text: `the server answers 400 Bad Request, of_the_test: do \x1b[2J not`,
		},
		{
			name: "wrong token", answer: refused(401), status: 401, evenIfKnown: true,
			text: `the server does not accept the token, of_the_test: do \x1b[2J not`,
		},
		{
			name: "forbidden", answer: refused(403), status: 403, evenIfKnown: true,
			text: `the server does not allow it (403), of_the_test: do \x1b[2J not`,
		},
		{
			name:   "token has ended",
			answer: closing(`{"reason":"token_expired","reconnect":false}`), status: 401, evenIfKnown: true,
			text: `the server does not accept the token, token_expired`,
		},
		{
			name:   "closing without reconnect",
			answer: closing(`{"reason":"banned\u001b","reconnect":false}`), evenIfKnown: true,
			text: `the server ends the stream, banned\x1b`,
		},
		{
			name: "a proxy rejects the request", answer: html(400), status: 400,
			text: `the server answers 400 Bad Request`,
		},
		{
			name: "a proxy wants a login", answer: html(401), status: 401,
			text: `the server does not accept the token`,
		},
		{
			name: "a proxy forbids it", answer: html(403), status: 403,
			text: `the server does not allow it (403)`,
		},
		{
			name: "a problem without a code", answer: problem(403, `{"status":403,"title":"Forbidden"}`),
			status: 403,
			text:   `the server does not allow it (403)`,
		},
		{
			name: "not found", answer: refused(404), status: 404,
			text: `the server answers 404 Not Found, of_the_test: do \x1b[2J not`,
		},
		{
			name: "gone", answer: refused(410), status: 410,
			text: `the server answers 410 Gone, of_the_test: do \x1b[2J not`,
		},
		{
			name: "no content", status: 204,
			answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) },
			text:   `the server answers 204 No Content`,
		},
		{
			name: "a web page", answer: html(200), status: 200,
			text: `the server answers 200 OK: this is text/html, not a stream; is the URL right?`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				_, c := serve(t, refused(502), tt.answer)
				err := c.Follow(t.Context(), "", func(follow.Event) error { return nil })
				r, ok := errors.AsType[*remote.Refusal](err)
				if !ok || r.Status != tt.status || err.Error() != tt.text {
					t.Errorf("got %v, want %d and %s", err, tt.status, tt.text)
				}
				if tt.evenIfKnown {
					_, c := serve(t, stream(preamble, ready("7.0"), live("7.0")), tt.answer)
					again := c.Follow(t.Context(), "", func(follow.Event) error { return nil })
					if again == nil || again.Error() != tt.text {
						t.Errorf("after a live stream: got %v, want the same error", again)
					}
					return
				}
				_, c = serve(t, stream(preamble, ready("7.0")), tt.answer, tt.answer,
					held(preamble, resumed("7.0"), message("7.1")))
				if diff := cmp.Diff([]string{"7.1"}, collect(t, c, "", "7.1")); diff != "" {
					t.Errorf("after a live stream: events (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestTemporaryRefusalsAreRetried(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var answers []http.HandlerFunc
		for _, status := range []int{408, 425, 429, 500, 501, 502, 503, 504, 520} {
			answers = append(answers, refused(status), html(status))
		}
		_, c := serve(t, append(answers, held(preamble, ready("7.0"), message("7.1")))...)
		collect(t, c, "", "7.1")
	})
}

// The client drops an answer that is no stream, even if the answer never ends.
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
		_, c := serve(t, endless(html(502)),
			endless(refused(502)), func(w http.ResponseWriter, r *http.Request) {
				if left != 2 {
					t.Errorf("the client dropped %d answers, want both dropped before the next connection",
						left)
				}
				held(preamble, ready("7.0"), message("7.1"))(w, r)
			})
		began := time.Now()
		collect(t, c, "", "7.1")
		if took := time.Since(began); took < follow.Silence || took > follow.Silence+10*s {
			t.Errorf("got the stream after %v, want it after the second answer was silent for %v",
				took, follow.Silence)
		}
	})
}

// The client sends the token only to the URL that the user named, not even to another port of the same host.
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
		r, ok := errors.AsType[*remote.Refusal](err)
		if !ok || r.Status != status || !strings.Contains(r.Detail, foreign.URL+"/elsewhere,") {
			t.Errorf("got %v, want status %d and the target of the redirect", err, status)
		}
		server.Close()
	}
}

// Follow continues with a renewed token, even if the token is renewed only after the server refused the old
// one.
func TestRenewedToken(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		tokens := []string{"a", "b", "b", "c", "c", "d"} // one for each connection and one after each refusal
		asked := 0
		s, c := serve(t,
			closing(`{"reason":"token_expired","reconnect":false}`), // with a
			refused(401), // with b
			stream(preamble, resumed("7.1"), live("7.1")), // with c
			refused(401), // with d
		)
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
		if r, ok := errors.AsType[*remote.Refusal](err); !ok || r.Status != 401 {
			t.Errorf("got %v, want a refusal of the token d", err)
		}
	})
}

func TestErrorOfTokenEndsFollow(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		_, c := serve(t)
		want := errors.New("no such file")
		c.Token = func() (string, error) { return "", want }
		if got := c.Follow(t.Context(), "", func(follow.Event) error { return nil }); got != want {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}
