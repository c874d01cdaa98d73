package follow_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/events/follow"
)

// A stream may be cut after any byte. The client handles each complete frame once. It handles a frame that
// was cut off only after the frame came again and was complete.
func TestCutAfterAnyByte(t *testing.T) {
	text := preamble + ready("7.1") + message("7.2") + ": hb 7.2\n\n" + message("7.10") + message("7.11")
	whole := []string{"7.1", "7.2", "7.10", "7.11"}
	for name, cut := range map[string]func(...string) http.HandlerFunc{"ends": stream, "breaks": broken} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				for n := range len(text) + 1 {
					at := "" // the cursor of the last complete frame
					for _, cursor := range whole {
						if strings.Contains(text[:n], "id: "+cursor+"\n\n") {
							at = cursor
						}
					}
					rest := ready("7.1")
					if at != "" {
						rest = resumed(at)
					}
					for _, cursor := range whole[1:] {
						if !slices.Contains(whole[:slices.Index(whole, at)+1], cursor) {
							rest += message(cursor)
						}
					}
					s, c := serve(t, cut(text[:n]), held(rest, message("7.12")))
					got := collect(t, c, "", "7.12")
					if diff := cmp.Diff([]string{"7.2", "7.10", "7.11", "7.12"}, got); diff != "" {
						t.Errorf("cut after %q: events (-want +got):\n%s", text[:n], diff)
					}
					if diff := cmp.Diff([]string{"", at}, s.asked()); diff != "" {
						t.Errorf("cut after %q: cursors (-want +got):\n%s", text[:n], diff)
					}
				}
			})
		})
	}
}

// The client accepts any line ends and any division of a stream into pieces.
func TestStreamInSingleBytes(t *testing.T) {
	for name, end := range map[string]string{"LF": "\n", "CRLF": "\r\n"} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				text := preamble + ready("7.1") + message("7.2") + ": hb 7.2\n\n" + message("7.3")
				text = strings.ReplaceAll(text, "\n", end)
				_, c := serve(t, func(w http.ResponseWriter, r *http.Request) {
					for i := range len(text) {
						stream(text[i:i+1])(w, r)
					}
					<-r.Context().Done()
				})
				if diff := cmp.Diff([]string{"7.2", "7.3"}, collect(t, c, "", "7.3")); diff != "" {
					t.Errorf("events (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestEventsComeOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s, c := serve(t,
			stream(preamble, resumed("7.5"),
				message("7.6"), message("7.7"), message("7.7"), message("7.6"), message("7.8")),
			stream(preamble, resumed("7.8"), message("7.7"), message("7.8"), message("7.9"), live("7.9")),
			stream(preamble, resumed("7.9"), frame("stream.cursor", `{"cursor":"7.2000"}`, "7.2000")),
			// The numbers of another epoch begin again.
			stream(preamble, resumed("7.2000"), message("8.10"), message("8.9"), message("8.11")),
			held(preamble, resumed("8.11"),
				"event: message.created\r\ndata: {\"content\":\"8.12\"}\r\nid: 8.12\r\n\r\n"),
		)
		got := collect(t, c, "7.5", "8.12")
		if diff := cmp.Diff([]string{"7.6", "7.7", "7.8", "7.9", "8.10", "8.11", "8.12"}, got); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"7.5", "7.8", "7.9", "7.2000", "8.11"}, s.asked()); diff != "" {
			t.Errorf("cursors (-want +got):\n%s", diff)
		}
	})
}

// The handler gets a reset. Events after the reset are new, even if their numbers are smaller than before. A
// snapshot in several frames counts only after its last frame.
func TestReset(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		reset := frame("stream.reset", `{"cursor":"7.3","reason":"beyond_end","resumed":false,"channels":[]}`,
			"")
		rest := frame("stream.channels", `{"channels":[]}`, "7.3")
		s, c := serve(t, stream(preamble, reset), held(preamble, reset, rest, message("7.4")))
		var got []string
		err := c.Follow(t.Context(), "7.90", func(e follow.Event) error {
			got = append(got, e.Name+" "+e.ID)
			if e.Name == "message.created" {
				return errLast
			}
			return nil
		})
		if !errors.Is(err, errLast) {
			t.Errorf("got %v, want the last event", err)
		}
		want := []string{
			"stream.reset 7.90", "stream.reset 7.90", "stream.channels 7.3",
			"message.created 7.4",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"7.90", "7.90"}, s.asked()); diff != "" {
			t.Errorf("cursors (-want +got):\n%s", diff)
		}
	})
}

func TestLargeFrames(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var notices []string
		large := func(cursor string, size int) string {
			return frame("message.created", `{"content":"`+cursor+strings.Repeat("x", size)+`"}`, cursor)
		}
		_, c := serve(t,
			stream(preamble, ready("7.1"), large("7.2", 96<<10), large("7.3", 1<<20-1000), message("7.4")),
			// no server of ours sends that
			stream(preamble, resumed("7.4"), live("7.4"), large("7.5", 2<<20)),
			held(preamble, resumed("7.4"), message("7.5"), message("7.6")),
		)
		c.Notice = func(text string) { notices = append(notices, text) }
		if diff := cmp.Diff([]string{"7.2", "7.3", "7.4", "7.5", "7.6"},
			collect(t, c, "", "7.6")); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		if len(notices) != 2 || !strings.Contains(notices[0], "too long") || notices[1] != "following again" {
			t.Errorf("got notices %q, want one about a frame that is too long and one about success", notices)
		}
	})
}

// The handler does not get a frame that no server of ours sends. The client drops the connection of such a
// frame.
func TestForeignFrames(t *testing.T) {
	for name, foreign := range map[string]string{
		"invalid JSON":    frame("message.created", `{"content":"7.2"`, "7.2"),
		"invalid cursor":  frame("message.created", `{}`, "x"),
		"leading zero":    frame("stream.cursor", `{}`, "7.02"),
		"invalid closing": frame("stream.closing", `[]`, ""),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s, c := serve(t,
					held(preamble, ready("7.1"), foreign, message("7.9")),
					held(preamble, resumed("7.1"), message("7.2")))
				if diff := cmp.Diff([]string{"7.2"}, collect(t, c, "", "7.2")); diff != "" {
					t.Errorf("events (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff([]string{"", "7.1"}, s.asked()); diff != "" {
					t.Errorf("cursors (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestErrorOfTheHandlerEndsFollow(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		_, c := serve(t, held(preamble, ready("7.1"), message("7.2"), message("7.3")))
		calls := 0
		want := errors.New("no more")
		got := c.Follow(t.Context(), "", func(follow.Event) error {
			calls++
			if calls == 2 {
				return want
			}
			return nil
		})
		if got != want || calls != 2 {
			t.Errorf("got %v after %d calls, want the handler's error after 2", got, calls)
		}
	})
}

// When the context ends, a running handler finishes, and Follow does not call the handler again.
func TestEndOfTheContextEndsFollow(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		_, c := serve(t, held(preamble, ready("7.1"), message("7.2"), message("7.3")))
		calls := 0
		err := c.Follow(ctx, "", func(follow.Event) error {
			calls++
			if calls == 2 {
				cancel()
				time.Sleep(time.Minute)
			}
			return nil
		})
		if !errors.Is(err, context.Canceled) || calls != 2 {
			t.Errorf("got %v after %d calls, want the context's error after 2", err, calls)
		}
	})
}

func TestEndOfTheContextEndsAWait(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		for _, answer := range []http.HandlerFunc{
			refused(http.StatusServiceUnavailable),
			held(preamble),
			func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		} {
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			_, c := serve(t, answer)
			began := time.Now()
			err := c.Follow(ctx, "", func(follow.Event) error { return nil })
			if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) ||
				took != 500*time.Millisecond {
				t.Errorf("got %v after %v, want the context's error at once", err, took)
			}
			cancel()
		}
	})
}

func TestRequests(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s, c := serve(t,
			refused(http.StatusBadGateway),
			stream(preamble, resumed("7.1"), live("7.1")),
			held(preamble, resumed("7.1"), message("7.2")))
		c.Query = map[string][]string{"wakeup": {"true"}}
		c.Snapshot = true
		collect(t, c, "7.1", "7.2")
		var got []string
		for _, r := range s.requests {
			got = append(got, fmt.Sprint(r.Method, " ", r.URL, " ",
				r.Header["Authorization"], r.Header["Accept"], r.Header["Accept-Encoding"]))
		}
		want := "GET /api/stream?lastEventId=7.1%swakeup=true [Bearer secret] [text/event-stream] []"
		first := fmt.Sprintf(want, "&snapshot=true&")
		if diff := cmp.Diff([]string{first, first, fmt.Sprintf(want, "&")}, got); diff != "" {
			t.Errorf("requests (-want +got):\n%s", diff)
		}
		if len(c.Query) != 1 {
			t.Errorf("got the query %v, want the caller's query unchanged", c.Query)
		}
	})
}
