package dbtest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"fabric-guild/db/pgrun"
)

// ListenTCP returns settings for NewCluster with which the cluster also listens on
// TCP, and its address. TCPURL makes a URL of the address. The address is a random
// one in the loopback network, so that no other cluster has it.
func ListenTCP(t testing.TB) (settings []string, addr string) {
	t.Helper()
	hba, err := os.CreateTemp("", "fabric-dbtest-hba-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(hba.Name()) })
	_, err = hba.WriteString("local all,replication all trust\nhost all all 127.0.0.0/8 trust\n")
	// The server's user must be able to read it.
	if err := errors.Join(err, hba.Chmod(0o644), hba.Close()); err != nil {
		t.Fatal(err)
	}
	ip := fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
	return []string{"listen_addresses=" + ip, "hba_file=" + hba.Name()}, ip + ":5432"
}

// TCPURL returns the URL of a cluster's database at an address. The address is the
// cluster's own or that of a proxy in front of it.
func TCPURL(addr string) string {
	return fmt.Sprintf("postgres://%s@%s/%[1]s?sslmode=disable", pgrun.Owner, addr)
}

// NewCopy copies the current data directory of a cluster and starts the copy, like
// a restore from a backup. The copy ends like a cluster of NewCluster.
func NewCopy(t testing.TB, of *pgrun.Postgres, settings ...string) *pgrun.Postgres {
	t.Helper()
	return newCluster(t, func(state string) error { return copyCluster(t.Context(), of, state) }, settings)
}

// NewStandby is like NewCopy, but the copy follows the cluster. It stops following
// when its setting primary_conninfo becomes empty.
func NewStandby(t testing.TB, of *pgrun.Postgres, settings ...string) *pgrun.Postgres {
	t.Helper()
	fill := func(state string) error {
		return copyCluster(t.Context(), of, state, "--write-recovery-conf")
	}
	return newCluster(t, fill, settings)
}

// copyCluster runs pg_basebackup into the state directory, with the owner of the
// original data directory.
func copyCluster(ctx context.Context, of *pgrun.Postgres, state string, options ...string) error {
	conn, err := pgx.Connect(ctx, of.URLFor(pgrun.Superuser, "postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	var data, sockets string
	const where = `SELECT current_setting('data_directory'), current_setting('unix_socket_directories')`
	if err := conn.QueryRow(ctx, where).Scan(&data, &sockets); err != nil {
		return err
	}
	opts, err := os.ReadFile(filepath.Join(data, "postmaster.opts")) // the first word is the server's path
	if err != nil {
		return err
	}
	server, _, _ := strings.Cut(string(opts), ` "`)
	home := filepath.Join(state, "postgres")
	if err := errors.Join(os.Mkdir(state, 0o711), os.Mkdir(home, 0o700)); err != nil {
		return err
	}
	options = append(options,
		"--pgdata="+filepath.Join(home, "data"),
		"--checkpoint=fast",
		"--no-sync",
		"--host="+sockets,
		"--username="+pgrun.Superuser)
	tool := filepath.Join(filepath.Dir(server), "pg_basebackup")
	out, err := exec.CommandContext(ctx, tool, options...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("pg_basebackup: %w: %s", err, out)
	}
	fi, err := os.Stat(data)
	if err != nil {
		return err
	}
	owner := fi.Sys().(*syscall.Stat_t)
	return filepath.WalkDir(home, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(owner.Uid), int(owner.Gid))
	})
}
