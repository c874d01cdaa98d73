package tail

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"fabric-guild/events"
)

// A cursorFile keeps the cursor of the last handled event in a file. Each save replaces the whole file. So
// the file always has the old or the new content, even after a power cut.
type cursorFile struct {
	path string        // empty: there is no file
	lock *os.File      // held until close
	lag  time.Duration // longest time between note and save; 0: note saves at once

	mu    sync.Mutex
	at    string      // cursor of the last handled event
	saved string      // cursor in the file
	timer *time.Timer // for the next save, or nil
	err   error       // of the last save
}

// printLag is the lag while events are printed. It limits the number of saves during a long backlog. While a
// command runs for each event, there is no lag: to print an event twice is harmless, to run a command twice
// may not be.
const printLag = 100 * time.Millisecond

// openCursorFile locks and reads the file at path, and checks that it is writable. The file need not exist.
// With an empty path, the cursorFile does nothing. With lazy, note saves with a lag. The caller must call
// close.
func openCursorFile(path string, lazy bool) (f *cursorFile, cursor string, err error) {
	f = &cursorFile{}
	if lazy {
		f.lag = printLag
	}
	if path == "" {
		return f, "", nil
	}
	f.path, err = filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		f.path = path
	} else if err != nil {
		return nil, "", fmt.Errorf("cursor file: %w", err)
	}
	// A save would replace a device or a directory with a regular file.
	if info, err := os.Stat(f.path); err == nil && !info.Mode().IsRegular() {
		return nil, "", fmt.Errorf("cursor file: %s is not a regular file", path)
	}
	if err := f.claim(); err != nil {
		return nil, "", err
	}
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, "", fmt.Errorf("cursor file: %w", err)
	}
	cursor = strings.TrimSpace(string(b))
	if cursor != "" {
		if _, err := events.ParseCursor(cursor); err != nil {
			return nil, "", fmt.Errorf("cursor file %s has no valid cursor: %w; remove it to start again",
				path, err)
		}
	}
	if err := f.write(cursor); err != nil {
		return nil, "", err
	}
	f.at = cursor
	f.saved = cursor
	return f, cursor, nil
}

// claim locks the file. Without the lock, a second tail would run every command again. On a file system
// without locks, claim does nothing.
func (f *cursorFile) claim() (err error) {
	f.lock, err = os.OpenFile(f.path+".lock", os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("cursor file: %w", err)
	}
	if syscall.Flock(int(f.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == syscall.EWOULDBLOCK {
		_ = f.lock.Close()
		return fmt.Errorf("cursor file %s is in use by another tail: give each tail its own file", f.path)
	}
	return nil
}

// note records that the event with this id has been handled, and saves the cursor at once or after the lag.
// It returns the error of the last save, which may be an earlier one.
func (f *cursorFile) note(id string) error {
	if f.path == "" || id == "" {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at = id
	if f.lag == 0 {
		f.saveLocked()
	} else if f.timer == nil {
		f.timer = time.AfterFunc(f.lag, func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.timer = nil
			f.saveLocked()
		})
	}
	return f.err
}

// close saves the cursor if necessary, and unlocks the file. The caller must not call note after it. close
// returns the error of the last save.
func (f *cursorFile) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.timer != nil {
		f.timer.Stop()
	}
	f.saveLocked()
	if f.lock != nil {
		_ = f.lock.Close()
	}
	return f.err
}

// saveLocked writes the cursor if it changed since the last save.
func (f *cursorFile) saveLocked() {
	if f.at == f.saved {
		return
	}
	f.err = f.write(f.at)
	if f.err == nil {
		f.saved = f.at
	}
}

// write replaces the file with a new one.
func (f *cursorFile) write(cursor string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("cursor file: %w", err)
		}
	}()
	draft, err := os.OpenFile(f.path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(draft, cursor)
	err = errors.Join(err, draft.Sync(), draft.Close())
	if err != nil {
		return err
	}
	return os.Rename(draft.Name(), f.path)
}
