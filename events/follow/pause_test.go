package follow_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/events/follow"
	"fabric-guild/events/remote"
)

// gaps follows a server with these answers until a last answer succeeds. It returns the time between each
// answer and the next, and all notices.
func gaps(t *testing.T, answers ...http.HandlerFunc) (between []time.Duration, notices []string) {
	t.Helper()
	last := time.Now()
	for i, answer := range answers {
		answers[i] = func(w http.ResponseWriter, r *http.Request) {
			between = append(between, time.Since(last))
			defer func() { last = time.Now() }()
			answer(w, r)
		}
	}
	_, c := serve(t, append(answers, func(w http.ResponseWriter, r *http.Request) {
		between = append(between, time.Since(last))
		held(preamble, resumed("7.1"), live("7.1"), message("7.100"))(w, r)
	})...)
	c.Notice = func(text string) { notices = append(notices, text) }
	collect(t, c, "7.1", "7.100")
	return between[1:], notices
}

func wantWithin(t *testing.T, got []time.Duration, bounds ...[2]time.Duration) {
	t.Helper()
	if len(got) != len(bounds) {
		t.Fatalf("got %d waits, want %d", len(got), len(bounds))
	}
	for i, b := range bounds {
		if got[i] < b[0] || got[i] > b[1] {
			t.Errorf("wait %d: got %v, want %v to %v", i, got[i], b[0], b[1])
		}
	}
}

const s = time.Second

func TestBackoffDoublesAndIsReset(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var seen []time.Duration
		for range 20 {
			bad := refused(http.StatusBadGateway)
			got, _ := gaps(t,
				bad,
				stream(preamble, resumed("7.1")), // a stream that is not live counts as a failure
				broken(), bad, bad, bad, bad,
				stream(preamble, resumed("7.1"), live("7.1")),
				bad,
				stream(preamble, resumed("7.1"), message("7.2")),
			)
			wantWithin(t, got,
				[2]time.Duration{1 * s, 3 * s},
				[2]time.Duration{2 * s, 6 * s},
				[2]time.Duration{4 * s, 12 * s},
				[2]time.Duration{8 * s, 24 * s},
				[2]time.Duration{15 * s, 45 * s},
				[2]time.Duration{15 * s, 45 * s},
				[2]time.Duration{15 * s, 45 * s},
				[2]time.Duration{1 * s, 3 * s},
				[2]time.Duration{2 * s, 6 * s},
				[2]time.Duration{1 * s, 3 * s},
			)
			seen = append(seen, got[0])
		}
		for _, d := range seen[1:] {
			if d != seen[0] {
				return
			}
		}
		t.Errorf("got %v each time, want a random jitter", seen[0])
	})
}

func TestRetryField(t *testing.T) {
	for field, want := range map[string][2]time.Duration{
		"100":                  {50 * time.Millisecond, 150 * time.Millisecond},
		"0":                    {5 * time.Millisecond, 15 * time.Millisecond},
		"60000":                {30 * s, 90 * s},
		"4000000000":           {remote.MaxAsked / 2, remote.MaxAsked * 3 / 2},
		"-1":                   {1 * s, 3 * s},
		"1e3":                  {1 * s, 3 * s},
		"99999999999999999999": {1 * s, 3 * s},
	} {
		t.Run(field, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				got, _ := gaps(t, stream(preamble, resumed("7.1"), "retry: "+field+"\n\n", live("7.1")))
				wantWithin(t, got, want)
			})
		})
	}
}

func TestRetryAfter(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		date := time.Now().Add(40 * s).UTC().Format(http.TimeFormat)
		got, _ := gaps(t, refused(http.StatusTooManyRequests, "Retry-After", "7"))
		wantWithin(t, got, [2]time.Duration{7 * s, 10 * s})
		got, _ = gaps(t, refused(http.StatusServiceUnavailable, "Retry-After", date))
		wantWithin(t, got, [2]time.Duration{25 * s, 51 * s})
		other := time.Now().Add(-24 * time.Hour).UTC() // the server's clock
		got, _ = gaps(t, refused(http.StatusServiceUnavailable,
			"Date", other.Format(http.TimeFormat),
			"Retry-After", other.Add(40*s).Format(http.TimeFormat)))
		wantWithin(t, got, [2]time.Duration{40 * s, 51 * s})
		got, _ = gaps(t, refused(http.StatusServiceUnavailable, "Retry-After", "86400"))
		wantWithin(t, got, [2]time.Duration{remote.MaxAsked, remote.MaxAsked*5/4 + s})
		got, _ = gaps(t, refused(http.StatusServiceUnavailable, "Retry-After", "soon"))
		wantWithin(t, got, [2]time.Duration{1 * s, 3 * s})
	})
}

// The server sends a heartbeat every 15 seconds. If the client gets nothing for longer, it drops the
// connection: before the answer, after the headers, or in the middle of a frame.
func TestSilence(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		beating := func(w http.ResponseWriter, r *http.Request) {
			stream(preamble, resumed("7.1"), live("7.1"))(w, r)
			for range 40 {
				time.Sleep(15 * s)
				stream(": hb 7.1\n\n")(w, r)
			}
			held("event: message.created\n")(w, r)
		}
		mute := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
		began := time.Now()
		got, notices := gaps(t, beating, mute, held())
		wantWithin(t, got,
			[2]time.Duration{1 * s, 3 * s}, [2]time.Duration{2 * s, 6 * s}, [2]time.Duration{4 * s, 12 * s})
		want := 10*time.Minute + 3*follow.Silence
		for _, d := range got {
			want += d
		}
		if took := time.Since(began); took != want {
			t.Errorf("took %v in all, want %v: each connection is dropped after %v of silence",
				took, want, follow.Silence)
		}
		if len(notices) != 3 || !strings.Contains(notices[0], "silent") ||
			!strings.Contains(notices[1], "silent") {
			t.Errorf("got notices %q, want two about silence and one about success", notices)
		}
	})
}

// A handler may take any time. The time during which the client does not read does not count as silence.
func TestSlowHandler(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		server, c := serve(t, held(preamble, ready("7.1"), message("7.2"), message("7.3"), message("7.4")))
		var got []string
		err := c.Follow(t.Context(), "", func(e follow.Event) error {
			time.Sleep(10 * time.Minute)
			got = append(got, e.ID)
			if e.ID == "7.4" {
				return errLast
			}
			return nil
		})
		if diff := cmp.Diff([]string{"7.1", "7.2", "7.3", "7.4"}, got); diff != "" ||
			len(server.requests) != 1 {
			t.Errorf("got %v, and %d connections, want one; events (-want +got):\n%s", err,
				len(server.requests), diff)
		}
	})
}

// The client gives no notice of a cut if the next connection succeeds at once.
func TestNotices(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		_, notices := gaps(t,
			stream(preamble, resumed("7.1"), live("7.1")), broken(preamble, resumed("7.1"), live("7.1")),
			stream(preamble, live("7.1"), frame("stream.closing", `{"reason":"drain","reconnect":true}`, "")),
			refused(http.StatusBadGateway), refused(http.StatusTooManyRequests),
			stream(preamble, resumed("7.1"), live("7.1")), stream(preamble, resumed("7.1"), live("7.1")))
		for i, want := range []string{
			`the server answers 502 Bad Gateway, of_the_test: do \x1b[2J not; trying again in `,
			`the server answers 429 Too Many Requests, of_the_test: do \x1b[2J not; trying again in `,
			`following again`,
		} {
			if len(notices) != 3 || !strings.HasPrefix(notices[i], want) {
				t.Errorf("got notices %q, want number %d to begin with %q", notices, i, want)
			}
		}
	})
}
