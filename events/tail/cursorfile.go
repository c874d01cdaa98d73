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

// A cursorFile keeps the cursor of the last event that was handled. It is replaced as a whole, so that at any
// moment, also that of a power cut, it is the former one or the new one.
type cursorFile struct {
	path string        // empty: there is none
	lock *os.File      // held until close
	lag  time.Duration // how far it may be behind

	mu    sync.Mutex
	at    string      // handled
	saved string      // in the file
	timer *time.Timer // of a save that is due
	err   error       // of the last save
}

// printLag bounds the saves of a long backlog that is printed. Where a command is run it is saved after each:
// to print twice is no harm, to run twice may be.
const printLag = 100 * time.Millisecond

// openCursorFile reads the file at path, which need not be there, and makes sure that it can be written.
func openCursorFile(path string, lazy bool) (f *cursorFile, cursor string, err error) {
	f = &cursorFile{}
	if lazy {
		f.lag = printLag
	}
	if path == "" {
		return f, "", nil
	}
	if f.path, err = filepath.EvalSymlinks(path); errors.Is(err, fs.ErrNotExist) {
		f.path = path
	} else if err != nil {
		return nil, "", fmt.Errorf("the cursor's file: %w", err)
	}
	if info, err := os.Stat(f.path); err == nil && !info.Mode().IsRegular() { // another would take its place
		return nil, "", fmt.Errorf("the cursor's file: %s is not a regular file", path)
	}
	if err := f.claim(); err != nil {
		return nil, "", err
	}
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, "", fmt.Errorf("the cursor's file: %w", err)
	}
	if cursor = strings.TrimSpace(string(b)); cursor != "" {
		if _, err := events.ParseCursor(cursor); err != nil {
			return nil, "", fmt.Errorf("the cursor's file %s has none: %w; remove it to begin anew", path, err)
		}
	}
	if err := f.write(cursor); err != nil {
		return nil, "", err
	}
	f.at, f.saved = cursor, cursor
	return f, cursor, nil
}

// claim keeps a second tail off, which would run every command once more. Where files can't be locked it does not.
func (f *cursorFile) claim() (err error) {
	if f.lock, err = os.OpenFile(f.path+".lock", os.O_RDWR|os.O_CREATE, 0o644); err != nil {
		return fmt.Errorf("the cursor's file: %w", err)
	}
	if syscall.Flock(int(f.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == syscall.EWOULDBLOCK {
		_ = f.lock.Close()
		return fmt.Errorf("the cursor's file %s is in use by another tail: give each one of its own", f.path)
	}
	return nil
}

// note notes that the event with this id has been handled. Its error may be that of an earlier save.
func (f *cursorFile) note(id string) error {
	if f.path == "" || id == "" {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at = id
	if f.lag == 0 {
		f.save()
	} else if f.timer == nil {
		f.timer = time.AfterFunc(f.lag, func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.timer = nil
			f.save()
		})
	}
	return f.err
}

// close saves what is not yet saved. Nothing is noted after it.
func (f *cursorFile) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.timer != nil {
		f.timer.Stop()
	}
	f.save()
	if f.lock != nil {
		_ = f.lock.Close()
	}
	return f.err
}

// save is called with f.mu held.
func (f *cursorFile) save() {
	if f.at != f.saved {
		if f.err = f.write(f.at); f.err == nil {
			f.saved = f.at
		}
	}
}

// write puts a new file in the place of the old one.
func (f *cursorFile) write(cursor string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("the cursor's file: %w", err)
		}
	}()
	draft, err := os.OpenFile(f.path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(draft, cursor)
	if err = errors.Join(err, draft.Sync(), draft.Close()); err != nil {
		return err
	}
	return os.Rename(draft.Name(), f.path)
}
