package handlers

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"
)

// Listen listens on a TCP address; port 0 picks one.
func Listen(ctx context.Context, addr string) (net.Listener, error) {
	return (&net.ListenConfig{Control: boundUnacknowledged}).Listen(ctx, "tcp", addr)
}

// boundUnacknowledged ends connections whose peer is gone without a word: what has been written is to be
// acknowledged within a minute, not within the quarter of an hour that the system gives it (tcp(7),
// TCP_USER_TIMEOUT). Accepted connections take it over from the listener.
func boundUnacknowledged(_, _ string, c syscall.RawConn) error {
	const userTimeout, millis = 18, 60_000
	var err error
	if e := c.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, userTimeout, millis) }); e != nil {
		return e
	}
	return err
}

// NewHTTPServer returns a server of HTTP/1.1 and, without TLS, HTTP/2. A stream lasts, so writes have no
// deadline here; streams and bodies have their own.
func NewHTTPServer(h http.Handler, logger *slog.Logger) *http.Server {
	s := &http.Server{
		Handler: h, Protocols: new(http.Protocols), ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	return s
}
