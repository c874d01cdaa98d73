package edge

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"syscall"
	"time"
)

// Listen listens on a TCP address. Port 0 picks a free port. connections is the largest number of connections
// that are open at once. The limit for each client address does not apply to loopback and to the networks
// in trusted, because proxies connect for many clients.
func Listen(ctx context.Context, addr string, connections int, trusted []netip.Prefix) (*Listener, error) {
	l, err := (&net.ListenConfig{Control: bound}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return NewListener(l, connections, forMany(trusted)), nil
}

// forMany returns loopback and the trusted networks: those that connect for many clients.
func forMany(trusted []netip.Prefix) Proxies {
	loopback := Proxies{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	return append(loopback, trusted...)
}

// Room returns how many streams the system's limit of open files allows, and how many connections to allow.
// The Go runtime has already raised that limit as far as it can. An eighth of the files is reserved for
// Postgres, Center and the server's own files, and an eighth of the connections for requests. wanted is the
// number of streams that the operator asks for. streams may be less or more than wanted. If wanted is 0,
// streams is at most 50,000.
func Room(wanted int) (streams, connections int, err error) {
	const enough, requests = 50_000, 10_000 // memory is a limit too
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return 0, 0, fmt.Errorf("the limit of open files: %w", err)
	}
	connections = int(min(files.Cur, 1<<30)) / 8 * 7
	if streams = connections / 8 * 7; wanted == 0 {
		streams = min(streams, enough)
	}
	return streams, min(connections, max(wanted, streams)+requests), nil
}

// bound sets an option of a listening socket, which accepted connections inherit: the system buffers only
// little unsent data for each connection. By default it may buffer megabytes for each slow reader. It reports
// free space only when a good part of the buffer has been sent. With a large buffer, a client that reads
// slowly but steadily would look like a client that reads nothing.
//
// The option exists only on Linux. On other systems, only the write timeouts bound slow peers.
func bound(_, _ string, c syscall.RawConn) error {
	if runtime.GOOS != "linux" {
		return nil
	}
	const notSentLowat, unsent = 25, 32 << 10 // TCP_NOTSENT_LOWAT, see tcp(7)
	var err error
	if e := c.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, notSentLowat, unsent)
	}); e != nil {
		return e
	}
	return err
}

// maxHTTP2Streams limits the concurrent requests on one HTTP/2 connection. RFC 9113 §6.5.2 recommends at
// least this number.
const maxHTTP2Streams = 100

// NewHTTPServer returns a server for HTTP/1.1 and HTTP/2. It uses TLS if cert is not nil. Its timeouts are
// for requests and their answers. A stream sets its own timeout for each write.
func NewHTTPServer(h http.Handler, cert *Certificate, logger *slog.Logger) *http.Server {
	s := &http.Server{
		Handler: h, Protocols: new(http.Protocols), MaxHeaderBytes: 32 << 10,
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 15 * time.Second, // ReadTimeout includes the body
		WriteTimeout: 90 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	s.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: maxHTTP2Streams}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetHTTP2(cert != nil)
	s.Protocols.SetUnencryptedHTTP2(cert == nil)
	if cert != nil {
		s.TLSConfig = cert.TLSConfig()
	}
	return s
}

// Serve serves requests until the server is shut down, and then returns http.ErrServerClosed. If l is a
// Listener, Serve tells it which of its connections are idle.
func Serve(s *http.Server, l net.Listener) error {
	if bounded, ok := l.(*Listener); ok {
		s.ConnState, s.ConnContext = bounded.state, connContext
	}
	if s.TLSConfig != nil {
		return s.ServeTLS(l, "", "")
	}
	return s.Serve(l)
}
