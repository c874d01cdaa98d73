package dbtest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// NewPooled makes a database like New, and starts a PgBouncer in transaction mode in front of it. pooled is
// the URL of PgBouncer, direct the URL of Postgres. If PgBouncer is not installed, NewPooled skips the test.
func NewPooled(t testing.TB) (pooled, direct string) {
	t.Helper()
	bin, err := exec.LookPath("pgbouncer")
	if err != nil {
		bin, err = exec.LookPath("/usr/sbin/pgbouncer") // often not in PATH
	}
	if err != nil {
		t.Skip("this test needs PgBouncer, which is not installed: apt install pgbouncer")
	}
	direct = New(t)
	config, err := pgx.ParseConfig(direct)
	if err != nil {
		t.Fatal(err)
	}
	socket, err := os.Stat(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	// PgBouncer refuses to run as root. Only the user of Postgres can enter the socket's directory. So
	// PgBouncer runs as that user.
	owner := socket.Sys().(*syscall.Stat_t)
	dir, err := os.MkdirTemp("", "pgbouncer")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	users := filepath.Join(dir, "users")
	settings := filepath.Join(dir, "pgbouncer.ini")
	// With few connections, different processes run the transactions of one client.
	err = os.WriteFile(settings, fmt.Appendf(nil, `
[databases]
%s = host=%s port=%d
[pgbouncer]
pool_mode = transaction
default_pool_size = 8
max_client_conn = 300
auth_type = trust
auth_file = %s
listen_addr =
unix_socket_dir = %s
`, config.Database, config.Host, config.Port, users, dir), 0o644)
	if err == nil {
		err = os.WriteFile(users, fmt.Appendf(nil, "%q \"\"\n", config.User), 0o644)
	}
	if err == nil && os.Geteuid() == 0 {
		err = os.Chown(dir, int(owner.Uid), int(owner.Gid))
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, settings)
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Credential: &syscall.Credential{Uid: owner.Uid, Gid: owner.Gid},
		}
	}
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("log of PgBouncer:\n%s", log.String())
		}
	})
	pooled = fmt.Sprintf("postgres://%s@/%s?host=%s&port=6432", config.User, config.Database, dir)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, pooled)
		if err == nil {
			_ = conn.Close(ctx)
			return pooled, direct
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			t.Fatal("PgBouncer does not answer: ", err)
		}
	}
}
