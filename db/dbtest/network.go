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

// ListenTCP are settings with which a cluster of NewCluster can be reached over
// TCP too, at the address; TCPURL is its URL there. The address is one of the
// loopback network that no other cluster has.
func ListenTCP(t testing.TB) (settings []string, addr string) {
	t.Helper()
	hba, err := os.CreateTemp("", "fabric-dbtest-hba-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(hba.Name()) })
	_, err = hba.WriteString("local all,replication all trust\nhost all all 127.0.0.0/8 trust\n")
	// The server's user reads it.
	if err := errors.Join(err, hba.Chmod(0o644), hba.Close()); err != nil {
		t.Fatal(err)
	}
	ip := fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
	return []string{"listen_addresses=" + ip, "hba_file=" + hba.Name()}, ip + ":5432"
}

// TCPURL is the URL of a cluster's database at an address: its own, or that of a
// proxy before it.
func TCPURL(addr string) string {
	return fmt.Sprintf("postgres://%s@%s/%[1]s?sslmode=disable", pgrun.Owner, addr)
}

// NewCopy starts a copy of a cluster's data directory as it is now: what somebody
// restores from a backup. See NewCluster for its end.
func NewCopy(t testing.TB, of *pgrun.Postgres, settings ...string) *pgrun.Postgres {
	t.Helper()
	return newCluster(t, func(state string) error { return copyCluster(t.Context(), of, state) }, settings)
}

// NewStandby starts a copy that follows the cluster until its setting
// primary_conninfo is emptied.
func NewStandby(t testing.TB, of *pgrun.Postgres, settings ...string) *pgrun.Postgres {
	t.Helper()
	return newCluster(t, func(state string) error { return copyCluster(t.Context(), of, state, "--write-recovery-conf") }, settings)
}

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
	options = append(options, "--pgdata="+filepath.Join(home, "data"), "--checkpoint=fast", "--no-sync", "--host="+sockets, "--username="+pgrun.Superuser)
	out, err := exec.CommandContext(ctx, filepath.Join(filepath.Dir(server), "pg_basebackup"), options...).CombinedOutput()
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
