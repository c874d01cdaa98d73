package ssetest_test

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/events/ssetest"
)

func TestReadFrame(t *testing.T) {
	t.Parallel()
	for stream, want := range map[string]struct {
		frame ssetest.Frame
		err   error
	}{
		"event: a\ndata: {}\nid: 7.1\n\n": {ssetest.Frame{Event: "a", Data: "{}", ID: "7.1"}, nil},
		"event: a\ndata: {}\n\n":          {ssetest.Frame{Event: "a", Data: "{}"}, nil},
		": ok\nretry: 2000\n\n":           {ssetest.Frame{Comment: "ok", Retry: "2000"}, nil},
		": hb\n\n":                        {ssetest.Frame{Comment: "hb"}, nil},
		"":                                {err: io.EOF},
		"event: a\ndata: {}\n":            {err: io.ErrUnexpectedEOF},
		"event: a\nda":                    {err: io.ErrUnexpectedEOF},
		"data: {}\nevent: a\n\n":          {err: ssetest.ErrStrict},
		"event: a\ndata: 1\ndata: 2\n\n":  {err: ssetest.ErrStrict},
		"event: a\r\ndata: {}\r\n\r\n":    {err: ssetest.ErrStrict},
		"event:a\ndata: {}\n\n":           {err: ssetest.ErrStrict},
		"event: a\ndata: \nid: 7.1\n\n":   {err: ssetest.ErrStrict},
		"id: 7.1\n\n":                     {err: ssetest.ErrStrict},
		"\n":                              {err: ssetest.ErrStrict},
	} {
		got, err := ssetest.ReadFrame(bufio.NewReader(strings.NewReader(stream)))
		if !errors.Is(err, want.err) || want.err == nil && err != nil {
			t.Errorf("%q: got error %v, want %v", stream, err, want.err)
		}
		if want.err == nil {
			want.frame.Raw = stream
			if diff := cmp.Diff(want.frame, got); diff != "" {
				t.Errorf("%q (-want +got):\n%s", stream, diff)
			}
		}
	}
}

func TestAwaitEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		if ssetest.Await(func() bool { return false }) || time.Since(begin) != ssetest.Patience {
			t.Errorf("Await returned after %v, want false after %v", time.Since(begin), ssetest.Patience)
		}
		begin = time.Now()
		if !ssetest.Await(func() bool { return time.Since(begin) >= time.Minute }) {
			t.Error("Await returned false, want true for a condition that holds after a minute")
		}
	})
}
