package handlers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"syscall"
	"time"
)

// Listen listens on a TCP address for at most so many connections at once; port 0 picks a port. The networks of
// trusted proxies may hold any number of them.
func Listen(ctx context.Context, addr string, connections int, trusted []netip.Prefix) (*Listener, error) {
	l, err := (&net.ListenConfig{Control: bound}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return newListener(l, connections, trusted), nil
}

// Room is how many streams the system's limit of open files leaves room for, which Go has raised as far as it
// may, and how many connections to allow for them. An eighth of the files is for Postgres, Center and our own,
// and an eighth of the connections for requests. wanted is how many streams somebody asks for, 0: enough.
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

// bound sets limits that accepted connections take over from their listener. What has been written is to be
// acknowledged within a minute, not within the quarter of an hour that the system gives a peer that is gone
// without a word. And the system is to hold little that it has not sent yet, not megabytes for each slow reader:
// it says that there is room again only when a good part of that is gone, so that a reader who steadily takes
// some bytes would seem to take none. These are Linux' options; elsewhere there is only the patience of the writes.
func bound(_, _ string, c syscall.RawConn) error {
	if runtime.GOOS != "linux" {
		return nil
	}
	const userTimeout, notSentLowat = 18, 25 // tcp(7), TCP_USER_TIMEOUT, TCP_NOTSENT_LOWAT
	const millis, unsent = 60_000, 32 << 10
	var err error
	if e := c.Control(func(fd uintptr) {
		err = errors.Join(
			syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, userTimeout, millis),
			syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, notSentLowat, unsent))
	}); e != nil {
		return e
	}
	return err
}

// maxHTTP2Streams bounds the requests of one HTTP/2 connection at once. It is the least that RFC 9113 §6.5.2
// recommends.
const maxHTTP2Streams = 100

// NewHTTPServer returns a server of HTTP/1.1 and HTTP/2; by TLS, if there is a certificate. Its bounds are for
// requests and their answers; a stream that lasts has bounds of its own for each write.
func NewHTTPServer(h http.Handler, cert *Certificate, logger *slog.Logger) *http.Server {
	s := &http.Server{
		Handler: h, Protocols: new(http.Protocols), MaxHeaderBytes: 32 << 10,
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 15 * time.Second, // with the body
		WriteTimeout: 90 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	s.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: maxHTTP2Streams}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetHTTP2(cert != nil)
	s.Protocols.SetUnencryptedHTTP2(cert == nil)
	if cert != nil {
		s.TLSConfig = cert.config()
	}
	return s
}

// Serve serves until the server is shut down. A Listener learns which of its connections are idle.
func Serve(s *http.Server, l net.Listener) error {
	if bounded, ok := l.(*Listener); ok {
		s.ConnState, s.ConnContext = bounded.state, connContext
	}
	if s.TLSConfig != nil {
		return s.ServeTLS(l, "", "")
	}
	return s.Serve(l)
}
