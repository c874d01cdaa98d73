package edge

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// unacknowledged reports whether the system has sent, or wants to send, something that the peer has not
// acknowledged, and how long ago the last acknowledgement came (tcp(7), TCP_INFO).
func unacknowledged(c *net.TCPConn) (owes bool, acked time.Duration) {
	raw, err := c.SyscallConn()
	if err != nil {
		return false, 0
	}
	var info *unix.TCPInfo
	if e := raw.Control(func(fd uintptr) {
		info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	}); e != nil || err != nil {
		return false, 0 // it is closed
	}
	return info.Unacked > 0 || info.Notsent_bytes > 0, time.Duration(info.Last_ack_recv) * time.Millisecond
}
