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

// Two locks guard a state directory. This program holds the instance lock: a
// process that cannot take it is a second instance. Postgres and every process
// that it forks inherit the server lock, so that lock is free only after the last
// of them has ended. Unlike a check of process ids, the server lock works after
// this program dies, and between containers that share a volume.
const (
	instanceLockName = "postgres.lock"
	serverLockName   = "postgres-server.lock"
)

// serverPatience is how long claimServer waits for the processes of an earlier
// server to end.
const serverPatience = time.Minute

type stateLock struct {
	dir      string
	instance *os.File
}

// lockState takes the instance lock. If another instance holds it, lockState
// returns an error at once.
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
			// The number helps to find a program that outlived "go run", which does
			// not pass signals on.
			holder += " (process " + pid + ")"
		}
		return nil, fmt.Errorf("state directory %s is in use by %s: stop it or choose another -state",
			dir, holder)
	}
	l := &stateLock{dir: dir, instance: f}
	// Replace the last holder's process id with our own. Keep its socket directory:
	// removeSockets must still remove it.
	_, sockets := readLock(f)
	if err := l.record(sockets); err != nil {
		l.release()
		return nil, err
	}
	return l, nil
}

// record writes the id of this process and its socket directory to the lock file.
// If this process cannot remove the directory, the next instance does.
func (l *stateLock) record(sockets string) error {
	if err := l.instance.Truncate(0); err != nil {
		return err
	}
	_, err := l.instance.WriteAt(fmt.Appendf(nil, "%d\n%s\n", os.Getpid(), sockets), 0)
	return err
}

// removeSockets removes the recorded socket directory. At the start that is the
// directory of a killed instance, at the end our own. The caller must make sure
// that no server listens there.
func (l *stateLock) removeSockets() error {
	if _, sockets := readLock(l.instance); sockets != "" {
		removeSocketDir(sockets)
	}
	return l.record("")
}

// claimServer takes the server lock. It blocks until no process of an earlier
// server is left, for at most serverPatience. A process that inherits the
// returned file holds the lock too. Closing the file gives up only the caller's
// part of the lock.
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
		return nil, errors.Join(fmt.Errorf("an earlier Postgres in %s has not ended: %w", l.dir, err),
			f.Close())
	}
	return f, nil
}

// release frees the state directory. It keeps the lock files: if one instance
// removed a lock file, two others could lock two files of the same name.
func (l *stateLock) release() {
	// A child between fork and exec has a copy of the file. Closing alone would
	// leave the lock to that child.
	_ = syscall.Flock(int(l.instance.Fd()), syscall.LOCK_UN)
	_ = l.instance.Close()
}

// awaitFlock waits until it has locked f, for at most serverPatience. It polls,
// because ctx could not interrupt a blocking flock.
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

// flock tries to lock f and returns EWOULDBLOCK if another process holds the lock.
func flock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// readLock returns what record wrote. It returns empty strings if f is not readable.
func readLock(f *os.File) (pid, sockets string) {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 4096))
	if err != nil {
		return "", ""
	}
	pid, rest, _ := strings.Cut(string(b), "\n")
	sockets, _, _ = strings.Cut(rest, "\n")
	return pid, sockets
}
