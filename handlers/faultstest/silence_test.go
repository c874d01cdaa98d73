package faultstest

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// silence has the system drop every segment that comes for a connection, unacknowledged: to its peer, this
// side has vanished from the network, without FIN or RST. A connection that is closed stays as it is.
func silence(t *testing.T, conn net.Conn) {
	t.Helper()
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	drop := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0} // take no byte of any segment
	e := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop})
	})
	if errors.Is(e, net.ErrClosed) {
		return
	}
	if e != nil || err != nil {
		t.Fatal(e, err)
	}
}

// A gateway forwards connections to an address, and may forget them.
type gateway struct {
	t        *testing.T
	listener net.Listener
	upstream string

	mu   sync.Mutex
	open []net.Conn
}

func newGateway(t *testing.T, upstream string) *gateway {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{t: t, listener: l, upstream: upstream}
	var forwarding sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		g.mu.Lock()
		for _, conn := range g.open {
			_ = conn.Close()
		}
		g.mu.Unlock()
		forwarding.Wait()
	})
	forwarding.Go(func() {
		for {
			down, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", upstream)
			if err != nil {
				_ = down.Close()
				continue
			}
			g.mu.Lock()
			g.open = append(g.open, down, up)
			g.mu.Unlock()
			for _, way := range [][2]net.Conn{{down, up}, {up, down}} {
				forwarding.Go(func() {
					_, _ = io.Copy(way[0], way[1])
					_ = way[0].Close()
				})
			}
		}
	})
	return g
}

// forget silences all connections for good; new ones are forwarded as before. So does a firewall that was
// restarted, or a machine whose address another one took over.
func (g *gateway) forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, conn := range g.open {
		silence(g.t, conn)
	}
}
