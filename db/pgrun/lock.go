package pgrun

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Two locks guard a state directory. The instance lock is held by the program:
// who cannot take it is a second instance. The server lock is inherited by
// Postgres and every process it forks, so it is free only when the last of them
// has ended: unlike a process id, it survives the program's death, and holds
// between containers that share a volume.
const (
	instanceLockName = "postgres.lock"
	serverLockName   = "postgres-server.lock"
)

// serverPatience is how long the processes of an earlier server may take to end.
const serverPatience = time.Minute

type stateLock struct {
	dir      string
	instance *os.File
}

// lockState takes the instance lock, or refuses at once.
func lockState(dir string) (*stateLock, error) {
	path := filepath.Join(dir, instanceLockName)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := flock(f); err != nil {
		defer func() { _ = f.Close() }()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, err
		}
		holder := "another instance"
		if pid, _ := readLock(f); pid != "" {
			// "go run" passes no signals on: the program may outlive it.
			holder += " (process " + pid + ")"
		}
		return nil, fmt.Errorf("state directory %s is in use by %s: stop it or choose another -state", dir, holder)
	}
	l := &stateLock{dir: dir, instance: f}
	// Our number in place of the last holder's; its sockets are still to be removed.
	_, sockets := readLock(f)
	if err := l.record(sockets); err != nil {
		l.release()
		return nil, err
	}
	return l, nil
}

// record notes who holds the lock, and the socket directory to clean up if
// this process cannot.
func (l *stateLock) record(sockets string) error {
	if err := l.instance.Truncate(0); err != nil {
		return err
	}
	_, err := l.instance.WriteAt(fmt.Appendf(nil, "%d\n%s\n", os.Getpid(), sockets), 0)
	return err
}

// removeSockets removes the recorded socket directory: at the end our own, at
// the start that of an instance that was killed. Callers know that no server
// listens there.
func (l *stateLock) removeSockets() error {
	if _, sockets := readLock(l.instance); sockets != "" {
		removeSocketDir(sockets)
	}
	return l.record("")
}

// claimServer waits until no process of an earlier server is left, and returns
// the server lock. Whoever inherits the file holds the lock too; closing it
// lets go of the caller's part.
func (l *stateLock) claimServer(ctx context.Context, progress func(string)) (*os.File, error) {
	path := filepath.Join(l.dir, serverLockName)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	err = flock(f)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		progress("waiting for an earlier Postgres in " + l.dir + " to end")
		err = awaitFlock(ctx, f)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("an earlier Postgres in %s has not ended: %w", l.dir, err), f.Close())
	}
	return f, nil
}

// release frees the state directory. The files stay: removing a lock file
// would let two instances lock two files of one name.
func (l *stateLock) release() {
	// Closing alone would leave the lock to a child that is between fork and exec.
	_ = syscall.Flock(int(l.instance.Fd()), syscall.LOCK_UN)
	_ = l.instance.Close()
}

// awaitFlock polls: a blocking flock could not be interrupted.
func awaitFlock(ctx context.Context, f *os.File) error {
	ctx, cancel := context.WithTimeout(ctx, serverPatience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := flock(f); !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func flock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

func readLock(f *os.File) (pid, sockets string) {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 4096))
	if err != nil {
		return "", ""
	}
	pid, rest, _ := strings.Cut(string(b), "\n")
	sockets, _, _ = strings.Cut(rest, "\n")
	return pid, sockets
}
