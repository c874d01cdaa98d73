package db

import (
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// A line that cannot send hangs up: nothing that follows would arrive either, and the server would go on
// hearing others, who do not hear it.
func TestALineThatCannotSendHangsUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		time.AfterFunc(time.Minute, func() { _ = theirs.Close() })
		l := &line{raw: ours}
		if err := l.send([]string{"nobody takes this"}); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got error %v, want that of the deadline", err)
		}
		if _, err := ours.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a read: got error %v, want the end of the connection", err)
		}
	})
}
