package agent

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A reader that stands still costs a second in all. What it takes later is whole and in order.
func TestSharedWithAReaderThatStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reader, writer := io.Pipe()
		s := share(writer)
		began := time.Now()
		for range sharedQueue + 100 {
			if n, err := io.WriteString(s, "line\n"); n != 5 || err != nil {
				t.Errorf("got %d and error %v, want 5", n, err)
			}
		}
		if took := time.Since(began); took > sharedPatience {
			t.Errorf("the writes took %v", took)
		}
		began = time.Now()
		s.close()
		if took := time.Since(began); took > sharedPatience {
			t.Errorf("close took %v", took)
		}
		go func() {
			<-s.written
			_ = writer.Close()
		}()
		got, err := io.ReadAll(reader)
		lines := strings.Repeat("line\n", sharedQueue+1) // one was on its way, and the queue was full
		if err != nil || string(got) != lines {
			t.Errorf("got %d bytes and error %v, want %d", len(got), err, len(lines))
		}
	})
}
