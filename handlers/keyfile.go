package handlers

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A keyFile is a secret key in the state directory, readable by its owner alone, which any number of
// processes use and which one may replace.
type keyFile struct {
	path string
	made bool // it was not there

	mu     sync.Mutex
	key    []byte
	looked time.Time   // when the file was last looked at
	file   os.FileInfo // what it was when the key was read
	fault  error       // why the file could not be used then, and the key that was read before is
	logger *slog.Logger
}

const (
	keyCheck  = 10 * time.Second // how often the file is looked at
	keyBytes  = 32
	keyForbid = 0o077 // no one else may read it
)

// openKeyFile uses the key at path, and makes one if there is none.
func openKeyFile(path string) (*keyFile, error) {
	k := &keyFile{path: path}
	if _, err := k.current(); errors.Is(err, fs.ErrNotExist) {
		if err := k.make(false); err != nil {
			return nil, err
		}
		k.made = true
	}
	_, err := k.current()
	return k, err
}

// replace puts a new key in place; every process uses it within keyCheck.
func (k *keyFile) replace() error {
	if err := k.make(true); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.key = nil
	return nil
}

// make writes a key beside its place and moves it there. Unless it is to replace, a key that another
// process has put there meanwhile stays.
func (k *keyFile) make(replace bool) error {
	key := make([]byte, keyBytes)
	rand.Read(key)                                                            // never fails
	f, err := os.CreateTemp(filepath.Dir(k.path), filepath.Base(k.path)+".*") // 0600
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = fmt.Fprintln(f, hex.EncodeToString(key))
	if err = errors.Join(err, k.give(f), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write a key: %w", err)
	}
	if replace {
		err = os.Rename(f.Name(), k.path)
	} else if err = os.Link(f.Name(), k.path); errors.Is(err, fs.ErrExist) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("put a key in place: %w", err)
	}
	return nil
}

// give leaves a key that root makes to whom the directory belongs to, who else could not read it.
func (k *keyFile) give(f *os.File) error {
	if os.Geteuid() != 0 {
		return nil
	}
	dir, err := os.Stat(filepath.Dir(k.path))
	if err != nil {
		return err
	}
	return f.Chown(owner(dir), -1)
}

// current returns the key. A file that can no longer be used changes nothing: the key that was read from it
// stays in use, until the file can be used again.
func (k *keyFile) current() ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.key != nil && time.Since(k.looked) < keyCheck {
		return k.key, nil
	}
	key, file, err := k.readLocked()
	if k.key == nil {
		if err != nil {
			return nil, err
		}
		k.key, k.file, k.looked = key, file, time.Now()
		return key, nil
	}
	k.looked = time.Now()
	k.noteLocked(err)
	if err == nil {
		k.key, k.file = key, file
	}
	return k.key, nil
}

// noteLocked logs the first of the faults in a row, and their end.
func (k *keyFile) noteLocked(fault error) {
	switch {
	case k.logger == nil:
	case fault != nil && k.fault == nil:
		k.logger.Error("the key cannot be read; the one that was read before stays in use, so a rotation has no "+
			"effect, and a restart would fail", "error", fault)
	case fault == nil && k.fault != nil:
		k.logger.Info("the key can be read again", "path", k.path)
	}
	k.fault = fault
}

// logTo has faults of the file logged.
func (k *keyFile) logTo(logger *slog.Logger) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.logger = logger
}

// readable looks at the file if it is time to, and reports whether it can be used.
func (k *keyFile) readable() bool {
	_, err := k.current()
	k.mu.Lock()
	defer k.mu.Unlock()
	return err == nil && k.fault == nil
}

// keysReadable reports for each key file of the server, by its name, whether it can be used.
func (s *Server) keysReadable() map[string]bool {
	all := map[string]bool{}
	for name, key := range s.keys {
		all[name] = key.readable()
	}
	return all
}

// readLocked returns the key in the file, and the file. The same file still holds the same key.
func (k *keyFile) readLocked() ([]byte, os.FileInfo, error) {
	info, err := os.Stat(k.path)
	if err != nil {
		return nil, nil, fmt.Errorf("the key: %w", err)
	}
	if err := k.owned(info); err != nil {
		return nil, nil, err
	}
	if info.Mode().Perm()&keyForbid != 0 {
		return nil, nil, fmt.Errorf("the key %s can be read by others (mode %04o): chmod 600 it, and rotate it if it may have been read", k.path, info.Mode().Perm())
	}
	// A rotation puts another file in its place; times of change may be the same.
	if k.key != nil && k.fault == nil && os.SameFile(info, k.file) && info.ModTime().Equal(k.file.ModTime()) {
		return k.key, k.file, nil
	}
	b, err := os.ReadFile(k.path)
	if err != nil {
		return nil, nil, fmt.Errorf("the key: %w", err)
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(b)))
	if err != nil || len(key) != keyBytes {
		return nil, nil, fmt.Errorf("the key %s is damaged: remove it to get a new one", k.path)
	}
	return key, info, nil
}

// owned refuses a key of somebody who could not have put it there: it has to be ours, or of whom the
// directory belongs to, for whom root may act.
func (k *keyFile) owned(info os.FileInfo) error {
	dir, err := os.Stat(filepath.Dir(k.path))
	if err != nil {
		return fmt.Errorf("the key's directory: %w", err)
	}
	if of := owner(info); of != os.Geteuid() && of != owner(dir) {
		return fmt.Errorf("the key %s belongs to another user (%d): remove it to get a new one, or give it to whom the server runs as", k.path, of)
	}
	return nil
}

func owner(info os.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Uid) }
