package live

import (
	"net"
	"net/http"
	"time"
)

// The transports build on this package, so these tests cannot import them. An external test sets them with
// UseTransports.
var (
	serveConn    func(net.Conn, *Session)
	writeTimeout time.Duration
	transports   []Carrier // every way in which a stream is carried over HTTP/1
)

// A Carrier is a transport by name.
type Carrier struct {
	name  string
	serve func(http.ResponseWriter, *http.Request, *Session)
}

// UseTransports sets the transports of the tests.
func UseTransports(
	conn func(net.Conn, *Session), timeout time.Duration,
	raw func(http.ResponseWriter, *Session) error, r3labs func(http.ResponseWriter, *http.Request, *Session),
) {
	serveConn = conn
	writeTimeout = timeout
	transports = []Carrier{
		{"raw", func(w http.ResponseWriter, _ *http.Request, s *Session) { _ = raw(w, s) }},
		{"r3labs", r3labs},
	}
}

// What a client may send on its stream, and in how large pieces the raw transport reads it.
const (
	clientInput = 4 << 10
	inputPiece  = 16
)
