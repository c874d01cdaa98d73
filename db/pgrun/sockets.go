package pgrun

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

const (
	socketDirPrefix = "fabric-pg-"
	socketPort      = "5432" // part of the socket's name; no port is opened
	socketName      = ".s.PGSQL." + socketPort
	// A socket's path must fit sun_path with its NUL: 104 bytes on BSD, 108 on Linux.
	socketPathMax = 103
)

// socketPlaces are the directories in which the socket's directory may be made, the best first. The state
// directory and /run are left alone by whatever cleans up temporary files and by the end of a login.
func socketPlaces(preferred, state string) []string {
	places := []string{preferred, state, "/run", os.Getenv("XDG_RUNTIME_DIR"), os.TempDir(), "/tmp"}
	return slices.DeleteFunc(places, func(dir string) bool { return dir == "" })
}

// makeSocketDir makes a fresh directory that the account alone can enter, in the first of the places that
// will do.
func (c *cluster) makeSocketDir(ctx context.Context, places []string) (string, error) {
	for _, base := range places {
		tooLong := len(base)+len("/"+socketDirPrefix+"0123456789/"+socketName) > socketPathMax
		// A comma separates hosts in a connection string, and with quotes
		// directories in the server's setting.
		if tooLong || strings.ContainsAny(base, `,"`) || !filepath.IsAbs(base) {
			continue
		}
		if c.account.other && !c.enters(ctx, base) {
			continue
		}
		dir, err := os.MkdirTemp(base, socketDirPrefix)
		if err != nil {
			continue
		}
		if !holdsSockets(ctx, dir) { // not every file system does
			_ = os.Remove(dir)
			continue
		}
		if err := c.account.own(dir); err != nil {
			return "", errors.Join(err, os.Remove(dir))
		}
		return dir, nil
	}
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	return "", fmt.Errorf("no place for a Postgres socket: each of %s is too long, not writable, "+
		"without sockets or closed to user %s",
		strings.Join(places, ", "), c.account.name)
}

// holdsSockets reports whether a socket can be made in dir.
func holdsSockets(ctx context.Context, dir string) bool {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "unix", filepath.Join(dir, socketName))
	if err != nil {
		return false
	}
	return l.Close() == nil // which removes it
}

// restoreSocketDir makes the socket's directory again if it was removed. What stands in its place must be as
// makeSocketDir made it: elsewhere than in the state directory anybody can put something there.
func (c *cluster) restoreSocketDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if err == nil {
		return errors.Join(os.Chmod(dir, 0o700), c.account.own(dir))
	}
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	fi, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if st := fi.Sys().(*syscall.Stat_t); !fi.IsDir() || fi.Mode().Perm() != 0o700 || st.Uid != c.account.uid {
		return fmt.Errorf("%s, where the socket of Postgres belongs, is no longer the private directory that it was", dir)
	}
	return nil
}

// unreachable is the error of a server whose socket is gone: no new connection can be made, although the
// process is well. Any other fault may pass, or is told by the server itself, and is nil.
func unreachable(ctx context.Context, dir string) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", filepath.Join(dir, socketName))
	if err == nil {
		return conn.Close()
	}
	for _, gone := range []error{syscall.ENOENT, syscall.ENOTDIR, syscall.ECONNREFUSED} {
		if errors.Is(err, gone) {
			return err
		}
	}
	return nil
}

// clearSockets removes what a killed server left, which its successor could
// take for a running server's.
func clearSockets(dir string) {
	_ = os.Remove(filepath.Join(dir, socketName))
	_ = os.Remove(filepath.Join(dir, socketName+".lock"))
}

// removeSocketDir removes a directory made by makeSocketDir and nothing else.
func removeSocketDir(dir string) {
	if !filepath.IsAbs(dir) || !strings.HasPrefix(filepath.Base(dir), socketDirPrefix) {
		return
	}
	clearSockets(dir)
	_ = os.Remove(dir)
}
