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

// silence makes the system drop every incoming segment of a connection without an acknowledgement. For its
// peer, this side has vanished from the network without FIN or RST. silence does nothing if the connection is
// closed.
func silence(t *testing.T, conn net.Conn) {
	t.Helper()
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	drop := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0} // accept no byte of any segment
	program := &unix.SockFprog{Len: 1, Filter: &drop}
	e := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, program)
	})
	if errors.Is(e, net.ErrClosed) {
		return
	}
	if e != nil || err != nil {
		t.Fatal(e, err)
	}
}

// A gateway forwards connections to an address. It can forget them.
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

// forget silences all existing connections for good. The gateway still forwards new connections. This happens
// in practice when a firewall restarts, or when another machine takes over an address.
func (g *gateway) forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, conn := range g.open {
		silence(g.t, conn)
	}
}
