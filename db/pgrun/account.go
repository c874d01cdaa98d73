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

// account is the user that Postgres runs as. Normally that is the user of this
// program. Postgres refuses to run as root, so root hands it to another user.
type account struct {
	name     string
	uid, gid uint32
	other    bool // not the user of this program
}

// accountFor picks the account for the cluster in home. An existing cluster
// runs as its owner. A new cluster runs as the user of this program, or, if
// that is root, as the user postgres or else the user nobody. accountFor returns
// an error if this program cannot run anything as the owner, or if no account
// is suitable.
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
			return self, fmt.Errorf("%s belongs to user %s: run as that user or choose another -state",
				home, owner.name)
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
	return self, errors.New("postgres refuses to run as root, and there is neither a user postgres " +
		"nor nobody: run as another user or pass -database-url")
}

// command prepares a program that runs as the account in the directory dir.
// When ctx ends, the program gets SIGINT. The program gets only a few
// environment variables: PG* variables would change what it does, and it must
// not see the secrets of this process.
func (a account) command(ctx context.Context, dir, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = dir
	cmd.Env = []string{"LC_ALL=C"}
	for _, name := range []string{"PATH", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"} {
		if v, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	// With its own process group, the program does not get the terminal's Ctrl-C.
	// Only this process gets it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if a.other {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	return cmd
}

// own makes the account the owner of dir, a directory that this process made.
func (a account) own(dir string) error {
	if !a.other {
		return nil
	}
	return os.Lchown(dir, int(a.uid), int(a.gid))
}

// makeStateDir makes dir, its missing parents, and the cluster's home in dir.
// If another user runs Postgres, that user can enter the new directories but
// not list them. makeStateDir does not change the mode of existing directories.
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
	// A crash between Mkdir and own leaves an empty directory. A directory with
	// content is not one of ours.
	if entries, err := os.ReadDir(home); err != nil || len(entries) > 0 {
		refusal := fmt.Errorf("%s belongs to root, and Postgres refuses to run as root: "+
			"move it away or choose another -state", home)
		return errors.Join(refusal, err)
	}
	return a.own(home)
}

// MakeDirs makes dir and its missing parents with exactly this mode, whatever
// the umask is. It leaves existing directories unchanged.
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
