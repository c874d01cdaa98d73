package edge_test

import (
	"log/slog"
	"net/http"
	"syscall"
	"testing"

	"fabric-guild/handlers/edge"
)

// An HTTP/2 connection has a limited number of requests at a time.
func TestRequestsOfOneConnection(t *testing.T) {
	t.Parallel()
	s := edge.NewHTTPServer(http.NotFoundHandler(), nil, slog.New(slog.DiscardHandler))
	if s.HTTP2 == nil || s.HTTP2.MaxConcurrentStreams < 100 || s.HTTP2.MaxConcurrentStreams > 128 {
		t.Errorf("got %+v, want about 100 streams of a connection at most", s.HTTP2)
	}
}

func TestRoom(t *testing.T) {
	t.Parallel()
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	for _, wanted := range []int{0, 3, 1 << 40} {
		streams, connections, err := edge.Room(wanted)
		if err != nil || streams < 1 || uint64(connections) >= files.Cur ||
			wanted == 0 && (streams >= connections || streams > 50_000) {
			t.Errorf("%d wanted: got %d streams and %d connections and error %v, want room for both within "+
				"%d files", wanted, streams, connections, err, files.Cur)
		}
	}
}
