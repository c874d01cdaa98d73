package db

import (
	"context"
	"net"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// lostAfter is how long Postgres' machine may leave what it is sent, or asked when it is quiet, without an
// acknowledgement before the connection counts as lost. The system's own patience is a quarter of an hour:
// whoever took over an address, or a firewall that was restarted, does not tell that it knows nothing of it.
const lostAfter = 3 * time.Second

// dial connects to Postgres.
func dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 2}}
	if strings.HasPrefix(network, "tcp") && runtime.GOOS == "linux" { // the option is Linux' own
		d.Control = func(_, _ string, c syscall.RawConn) error {
			const userTimeout = 18 // tcp(7), TCP_USER_TIMEOUT
			var err error
			if e := c.Control(func(fd uintptr) {
				err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, userTimeout, int(lostAfter.Milliseconds()))
			}); e != nil {
				return e
			}
			return err
		}
	}
	return d.DialContext(ctx, network, addr)
}
