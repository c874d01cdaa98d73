package handlers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Listen listens on a TCP address; port 0 picks one. Of so many connections at once further ones wait.
func Listen(ctx context.Context, addr string, connections int) (net.Listener, error) {
	l, err := (&net.ListenConfig{Control: bound}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &crowd{Listener: l, places: make(chan struct{}, connections), closed: make(chan struct{})}, nil
}

// A crowd accepts so many connections at once; further ones wait. Unlike those of x/net's LimitListener its
// connections are TCP's in all but their end: what they can do besides, they still can.
type crowd struct {
	net.Listener
	places chan struct{}
	closed chan struct{}
	once   sync.Once
}

func (l *crowd) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	return &oneOfCrowd{TCPConn: conn.(*net.TCPConn), of: l}, nil
}

// Close may be called more than once.
func (l *crowd) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type oneOfCrowd struct {
	*net.TCPConn
	of   *crowd
	left atomic.Bool
}

// Close may be called more than once.
func (c *oneOfCrowd) Close() error {
	defer func() {
		if !c.left.Swap(true) {
			<-c.of.places
		}
	}()
	return c.TCPConn.Close()
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

// Serve serves until the server is shut down.
func Serve(s *http.Server, l net.Listener) error {
	if s.TLSConfig != nil {
		return s.ServeTLS(l, "", "")
	}
	return s.Serve(l)
}
