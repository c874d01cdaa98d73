package auth

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

// A KeyFile is a secret key in a file in the state directory. Only the file's owner may read it. Any number
// of processes can use the file, and each of them can replace the key.
type KeyFile struct {
	path string
	made bool // openKeyFile created the file

	mu     sync.Mutex
	key    []byte
	looked time.Time   // when the file was last checked
	file   os.FileInfo // the state of the file when key was read
	fault  error       // why the last check failed, so that an older key is in use; nil: it succeeded
	logger *slog.Logger
}

const (
	keyCheck  = 10 * time.Second // how often the file is checked
	keyBytes  = 32
	keyForbid = 0o077 // permission bits that must be off: only the owner may use the file
)

// openKeyFile opens the key at path, and creates the file with a new key if the file does not exist.
func openKeyFile(path string) (*KeyFile, error) {
	k := &KeyFile{path: path}
	if _, err := k.Current(); errors.Is(err, fs.ErrNotExist) {
		if err := k.make(false); err != nil {
			return nil, err
		}
		k.made = true
	}
	_, err := k.Current()
	return k, err
}

// replace writes a new key to the file. Every other process uses the new key after at most keyCheck.
func (k *KeyFile) replace() error {
	if err := k.make(true); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.key = nil
	return nil
}

// make writes a new key to a temporary file and moves that file to the path, so that no process reads half a
// key. If replace is false, make keeps a key that another process has put there in the meantime.
func (k *KeyFile) make(replace bool) error {
	key := make([]byte, keyBytes)
	rand.Read(key)                                                            // never returns an error
	f, err := os.CreateTemp(filepath.Dir(k.path), filepath.Base(k.path)+".*") // mode 0600
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

// give makes the directory's owner the owner of a key that root has created. Otherwise the directory's owner
// could not read the key. For any other user than root, give does nothing.
func (k *KeyFile) give(f *os.File) error {
	if os.Geteuid() != 0 {
		return nil
	}
	dir, err := os.Stat(filepath.Dir(k.path))
	if err != nil {
		return err
	}
	return f.Chown(owner(dir), -1)
}

// Current returns the key. It checks the file for a new key at most once per keyCheck. If the file cannot be
// used any more, Current returns the key that it read before. So it returns an error only if it has never
// read the key, or if replace was called and the new key cannot be read.
func (k *KeyFile) Current() ([]byte, error) {
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

// noteLocked records the result of a check, nil for success. It logs the first fault in a row, and the end of
// the faults.
func (k *KeyFile) noteLocked(fault error) {
	switch {
	case k.logger == nil:
	case fault != nil && k.fault == nil:
		k.logger.Error("the key cannot be read; the one that was read before stays in use, so a "+
			"rotation has no "+
			"effect, and a restart would fail", "error", fault)
	case fault == nil && k.fault != nil:
		k.logger.Info("the key can be read again", "path", k.path)
	}
	k.fault = fault
}

// LogTo sets the logger for faults of the file. Without a logger, faults are not logged.
func (k *KeyFile) LogTo(logger *slog.Logger) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.logger = logger
}

// Name returns the name of the file, without its directory.
func (k *KeyFile) Name() string { return filepath.Base(k.path) }

// Recheck makes the next use of the key check the file.
func (k *KeyFile) Recheck() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.looked = time.Time{}
}

// Readable checks the file if a check is due, and reports whether the last check succeeded.
func (k *KeyFile) Readable() bool {
	_, err := k.Current()
	k.mu.Lock()
	defer k.mu.Unlock()
	return err == nil && k.fault == nil
}

// readLocked returns the key in the file, and the state of the file. If the file has not changed since the
// last read, readLocked returns the key that it read then.
func (k *KeyFile) readLocked() ([]byte, os.FileInfo, error) {
	info, err := os.Stat(k.path)
	if err != nil {
		return nil, nil, fmt.Errorf("the key: %w", err)
	}
	if err := k.owned(info); err != nil {
		return nil, nil, err
	}
	if info.Mode().Perm()&keyForbid != 0 {
		return nil, nil, fmt.Errorf("the key %s can be read by others (mode %04o): chmod 600 it, and "+
			"rotate it if it may have been read", k.path, info.Mode().Perm())
	}
	// A rotation puts another file at the path. Compare the files too: their modification times may be equal.
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

// owned returns an error if the file has an unexpected owner. The file must belong to the user of this
// process or to the owner of the directory. The directory's owner is allowed because root may run this
// process on that user's behalf.
func (k *KeyFile) owned(info os.FileInfo) error {
	dir, err := os.Stat(filepath.Dir(k.path))
	if err != nil {
		return fmt.Errorf("the key's directory: %w", err)
	}
	if of := owner(info); of != os.Geteuid() && of != owner(dir) {
		return fmt.Errorf("the key %s belongs to another user (%d): remove it to get a new one, or give it "+
			"to whom the server runs as", k.path, of)
	}
	return nil
}

// owner returns the user id of the file's owner.
func owner(info os.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Uid) }
