package db

import (
	"context"
	"net"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// lostAfter is how long a connection may go without an acknowledgement from Postgres' machine, for sent data
// or for a keepalive, before it counts as lost. The operating system waits a quarter of an hour. A machine
// that took over the address, or a restarted firewall, does not answer for connections that it does not know.
const lostAfter = 3 * time.Second

// dial connects to Postgres.
func dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{
			Enable: true, Idle: time.Second, Interval: time.Second,
			Count: 2,
		},
	}
	if strings.HasPrefix(network, "tcp") && runtime.GOOS == "linux" { // only Linux has the option
		d.Control = func(_, _ string, c syscall.RawConn) error {
			const userTimeout = 18 // tcp(7), TCP_USER_TIMEOUT
			var err error
			if e := c.Control(func(fd uintptr) {
				err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, userTimeout,
					int(lostAfter.Milliseconds()))
			}); e != nil {
				return e
			}
			return err
		}
	}
	return d.DialContext(ctx, network, addr)
}
