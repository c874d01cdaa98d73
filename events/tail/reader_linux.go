package tail

import (
	"errors"
	"os"
	"sync"
	"syscall"
)

// whenUnread calls gone when the reader of f is gone. f must be a pipe, a socket or a terminal; for other
// files whenUnread does nothing. Without it, only a failed write would show that the reader is gone, and the
// next event may come much later. stop ends the watch and blocks until its goroutine has ended.
func whenUnread(f *os.File, gone func()) (stop func()) {
	stop = func() {}
	epoll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return stop // a failed write will show it
	}
	quit, stopping, err := os.Pipe()
	if err == nil {
		// The event mask of f is 0, because epoll always reports errors.
		err = errors.Join(watch(epoll, f, 0), watch(epoll, quit, syscall.EPOLLIN))
	}
	if err != nil { // f is a regular file
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

// watch adds f to an epoll instance.
func watch(epoll int, f *os.File, events uint32) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		event := &syscall.EpollEvent{Events: events, Fd: int32(fd)}
		failed = syscall.EpollCtl(epoll, syscall.EPOLL_CTL_ADD, int(fd), event)
	})
	return errors.Join(err, failed)
}
