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

// socketPlaces returns the directories that may hold the socket's directory, the best first. The state
// directory and /run come before the others, because programs that clean up temporary files, and the end of a
// login session, do not touch them.
func socketPlaces(preferred, state string) []string {
	places := []string{preferred, state, "/run", os.Getenv("XDG_RUNTIME_DIR"), os.TempDir(), "/tmp"}
	return slices.DeleteFunc(places, func(dir string) bool { return dir == "" })
}

// makeSocketDir makes a new directory that only the account can enter. It uses the first suitable place, and
// returns an error if no place is suitable.
func (c *cluster) makeSocketDir(ctx context.Context, places []string) (string, error) {
	for _, base := range places {
		tooLong := len(base)+len("/"+socketDirPrefix+"0123456789/"+socketName) > socketPathMax
		// A comma separates hosts in a connection string. Commas and quotes have a
		// meaning in the server's setting.
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
		if !holdsSockets(ctx, dir) { // some file systems do not support sockets
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
		"on a file system without sockets, or closed to user %s",
		strings.Join(places, ", "), c.account.name)
}

// holdsSockets reports whether this process can make a socket in dir.
func holdsSockets(ctx context.Context, dir string) bool {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "unix", filepath.Join(dir, socketName))
	if err != nil {
		return false
	}
	return l.Close() == nil // Close removes the socket
}

// restoreSocketDir makes the socket's directory again if somebody removed it. If something exists at that
// path, it must be a directory with the owner and mode that makeSocketDir gives. Otherwise restoreSocketDir
// returns an error: outside the state directory, any user can put something at that path.
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
		return fmt.Errorf("%s, the directory of the Postgres socket, is no longer a private directory", dir)
	}
	return nil
}

// unreachable returns an error if the server's socket is gone. Then nobody can open a new connection,
// although the process runs. unreachable returns nil for any other fault: it may be temporary, or the server
// reports it itself.
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

// clearSockets removes the socket files of a killed server. The next server could
// mistake them for the files of a running server.
func clearSockets(dir string) {
	_ = os.Remove(filepath.Join(dir, socketName))
	_ = os.Remove(filepath.Join(dir, socketName+".lock"))
}

// removeSocketDir removes a directory that makeSocketDir made. It leaves any other
// directory alone.
func removeSocketDir(dir string) {
	if !filepath.IsAbs(dir) || !strings.HasPrefix(filepath.Base(dir), socketDirPrefix) {
		return
	}
	clearSockets(dir)
	_ = os.Remove(dir)
}
