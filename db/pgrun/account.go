package pgrun

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is the user that Postgres runs as: ourselves, or for root, whom
// Postgres refuses, another.
type account struct {
	name     string
	uid, gid uint32
	other    bool // not ourselves
}

// accountFor picks the owner of an existing cluster. For a new one it is
// ourselves, and for root the user postgres, else nobody.
func accountFor(home string) (account, error) {
	self := account{uid: uint32(os.Geteuid()), gid: uint32(os.Getegid())}
	self.name = userName(self.uid)

	owner := self
	fi, err := os.Lstat(home)
	switch {
	case err == nil && !fi.IsDir():
		return self, fmt.Errorf("%s is not a directory: move it away or choose another -state", home)
	case err == nil:
		st := fi.Sys().(*syscall.Stat_t)
		owner = account{name: userName(st.Uid), uid: st.Uid, gid: st.Gid, other: st.Uid != self.uid}
	case !errors.Is(err, fs.ErrNotExist):
		return self, err
	}
	if self.uid != 0 {
		if owner.other {
			return self, fmt.Errorf("%s belongs to user %s: run as that user or choose another -state", home, owner.name)
		}
		return self, nil
	}
	if owner.uid != 0 {
		return owner, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
			gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
			if uidErr == nil && gidErr == nil && uid != 0 {
				return account{name: name, uid: uint32(uid), gid: uint32(gid), other: true}, nil
			}
		}
	}
	return self, errors.New("postgres refuses to run as root, and there is neither a user postgres nor nobody: run as another user or pass -database-url")
}

// command prepares a program that runs as the account in directory dir. It
// gets next to nothing of our environment: PG* variables would change what it
// does, and our secrets are none of its business.
func (a account) command(ctx context.Context, dir, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = dir
	cmd.Env = []string{"LC_ALL=C"}
	for _, name := range []string{"PATH", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"} {
		if v, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	// A process group of its own, so that Ctrl-C reaches us alone.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if a.other {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	return cmd
}

// own gives a directory that we made to the account.
func (a account) own(dir string) error {
	if !a.other {
		return nil
	}
	return os.Lchown(dir, int(a.uid), int(a.gid))
}

// makeStateDir makes dir and, in it, the cluster's home. Where the account is
// not ourselves, the directories made on the way can be passed through, not
// listed; the mode of a directory that was there is left alone.
func makeStateDir(dir string, a account) error {
	mode := fs.FileMode(0o700)
	if a.other {
		mode = 0o711
	}
	if err := MakeDirs(dir, mode); err != nil {
		return err
	}
	home := filepath.Join(dir, "postgres")
	err := os.Mkdir(home, 0o700)
	switch {
	case err == nil:
		return a.own(home)
	case !errors.Is(err, fs.ErrExist) || !a.other:
		return ignoreExist(err)
	}
	fi, err := os.Lstat(home)
	if err != nil || fi.Sys().(*syscall.Stat_t).Uid == a.uid {
		return err
	}
	// Left by a crash between the two steps above, or not ours.
	if entries, err := os.ReadDir(home); err != nil || len(entries) > 0 {
		return errors.Join(fmt.Errorf("%s belongs to root, and Postgres refuses to run as root: move it away or choose another -state", home), err)
	}
	return a.own(home)
}

// MakeDirs is os.MkdirAll whatever the umask.
func MakeDirs(dir string, mode fs.FileMode) error {
	err := os.Mkdir(dir, mode)
	if errors.Is(err, fs.ErrNotExist) {
		if err := MakeDirs(filepath.Dir(dir), mode); err != nil {
			return err
		}
		err = os.Mkdir(dir, mode)
	}
	if err == nil {
		return os.Chmod(dir, mode)
	}
	return ignoreExist(err)
}

func ignoreExist(err error) error {
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}
