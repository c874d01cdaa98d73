package pgrun

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const (
	socketDirPrefix = "fabric-pg-"
	socketPort      = "5432" // part of the socket's name; no port is opened
	socketName      = ".s.PGSQL." + socketPort
	// A socket's path must fit sun_path with its NUL: 104 bytes on BSD, 108 on Linux.
	socketPathMax = 103
)

// makeSocketDir makes a fresh directory that the account alone can enter, in
// the first place that will do.
func (c *cluster) makeSocketDir(ctx context.Context, preferred string) (string, error) {
	for _, base := range []string{preferred, os.TempDir(), "/tmp", "/run"} {
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
		if err := c.account.own(dir); err != nil {
			return "", errors.Join(err, os.Remove(dir))
		}
		return dir, nil
	}
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	return "", fmt.Errorf("no place for a Postgres socket: %s, /tmp and /run are too long, not writable or closed to user %s", os.TempDir(), c.account.name)
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
