package tail

import (
	"errors"
	"os"
	"sync"
	"syscall"
)

// whenUnread calls gone once nobody can read any more what is written to f, a pipe, a socket or a terminal.
// Otherwise a write would have to tell, and the next event may be long in coming. stop ends the watch.
func whenUnread(f *os.File, gone func()) (stop func()) {
	stop = func() {}
	epoll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return stop // a write will tell
	}
	quit, stopping, err := os.Pipe()
	if err == nil {
		err = errors.Join(watch(epoll, f, 0), watch(epoll, quit, syscall.EPOLLIN)) // errors of f come unasked
	}
	if err != nil { // f is a file
		_ = errors.Join(syscall.Close(epoll), quit.Close(), stopping.Close())
		return stop
	}
	var ended sync.WaitGroup
	ended.Go(func() {
		defer func() { _ = errors.Join(syscall.Close(epoll), quit.Close()) }()
		event := make([]syscall.EpollEvent, 1)
		for {
			n, err := syscall.EpollWait(epoll, event, -1)
			if n == 1 && event[0].Events&(syscall.EPOLLERR|syscall.EPOLLHUP) != 0 {
				gone()
			}
			if n > 0 || !errors.Is(err, syscall.EINTR) {
				return
			}
		}
	})
	return func() {
		_ = stopping.Close()
		ended.Wait()
	}
}

func watch(epoll int, f *os.File, events uint32) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		failed = syscall.EpollCtl(epoll, syscall.EPOLL_CTL_ADD, int(fd), &syscall.EpollEvent{Events: events, Fd: int32(fd)})
	})
	return errors.Join(err, failed)
}
