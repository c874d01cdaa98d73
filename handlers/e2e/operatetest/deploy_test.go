package operatetest_test

import (
	"cmp"
	"debug/elf"
	"encoding/json"
	"flag"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers/config"
	"fabric-guild/handlers/e2e/guildtest"
	"fabric-guild/handlers/e2e/nodetest"
)

// The unit is one that systemd takes without a complaint, is confined, and gives the server time to drain.
func TestSystemdUnit(t *testing.T) {
	t.Parallel()
	analyze := nodetest.Program(t, "systemd-analyze", "systemd")
	unit := readOps(t, "fabric-guild.service")
	path := filepath.Join(t.TempDir(), "fabric-guild.service")
	// It insists on a program that is there; this one stands for it.
	installed := strings.Replace(unit, "ExecStart=/usr/local/bin/fabric-guild ", "ExecStart="+analyze+" ", 1)
	if installed == unit {
		t.Fatal("got no ExecStart of /usr/local/bin/fabric-guild")
	}
	if err := os.WriteFile(path, []byte(installed), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no",
		path).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	// From 0 to 10; a unit without any confinement has 9.6.
	if out, err := exec.CommandContext(t.Context(), analyze, "security", "--offline=true", "--no-pager",
		"--threshold=20", path).CombinedOutput(); err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}

	var c config.Serve
	if _, err := config.Parse("serve", nil, func(string) string { return "" },
		io.Discard, func(f *flag.FlagSet) { c.Flags(f) }); err != nil {
		t.Fatal(err)
	}
	stop := regexp.MustCompile(`(?m)^TimeoutStopSec=(\d+)$`).FindStringSubmatch(unit)
	if stop == nil {
		t.Fatal("got no TimeoutStopSec in seconds")
	}
	const postgres = 30 * time.Second
	got, err := time.ParseDuration(stop[1] + "s")
	if want := c.DrainStreams + c.DrainRequests + postgres; err != nil || got < want {
		t.Errorf("got %v for the stop, want %v at least: streams, requests, Postgres", got, want)
	}
}

// The container file builds, by a real builder, an image that holds the server and nothing else; and the
// server runs in it, as nobody in particular, in front of a Postgres elsewhere.
func TestContainer(t *testing.T) {
	dbtest.Long(t)
	t.Parallel()
	b := newBuilder(t)
	b.standIn(t, "golang:1.26")
	b.run(t, append([]string{
		"build", "--isolation", "chroot", "--pull-never", "-q", "--build-arg", "VERSION=v1.2.3",
		"-f", opsDir + "Containerfile", "-t", "guild",
	}, append(b.toolchain(t), "../../..")...)...)

	var image struct {
		OCIv1 struct {
			Config struct {
				User, StopSignal string
				Entrypoint, Env  []string
				ExposedPorts     map[string]struct{}
				Volumes          map[string]struct{}
			}
		}
	}
	if err := json.Unmarshal([]byte(b.run(t, "inspect", "--type", "image", "guild")), &image); err != nil {
		t.Fatal(err)
	}
	c := image.OCIv1.Config
	var set struct{}
	want := c
	want.User, want.StopSignal, want.Entrypoint = "65532:65532", "SIGTERM", []string{"/fabric-guild"}
	want.ExposedPorts, want.Volumes = map[string]struct{}{"8080/tcp": set},
		map[string]struct{}{"/var/lib/fabric-guild": set}
	if diff := gocmp.Diff(want, c); diff != "" {
		t.Errorf("the image (-want +got):\n%s", diff)
	}

	root := b.run(t, "mount", b.run(t, "from", "--pull-never", "guild"))
	var files []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, strings.TrimPrefix(path, root))
		}
		return err
	})
	if diff := gocmp.Diff([]string{"/etc/ssl/certs/ca-certificates.crt", "/fabric-guild"},
		files); diff != "" || err != nil {
		t.Errorf("its files, error %v (-want +got):\n%s", err, diff)
	}
	program, err := elf.Open(root + "/fabric-guild")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = program.Close() }()
	for _, p := range program.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("got a program that needs a dynamic linker, which is not there")
		}
	}

	inside := func(args ...string) *exec.Cmd {
		cmd := exec.Command("/fabric-guild", args...)
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Chroot:     root,
			Credential: &syscall.Credential{Uid: 65532, Gid: 65532},
		}
		return cmd
	}
	version, err := inside("version").Output()
	if err != nil || !strings.HasPrefix(string(version), "fabric-guild v1.2.3 go1.") {
		t.Errorf("got the version %q and error %v, want v1.2.3", version, err)
	}
	cmd := inside()
	n := guildtest.Program{}.Launch(t, "",
		append(c.Env, "FABRIC_BACKEND_GUILD_ADDR=127.0.0.1:0", "DATABASE_URL="+overTCP(t, dbtest.New(t))),
		cmd)
	n.AwaitReady()
	if key, err := os.Stat(root + "/var/lib/fabric-guild/token.key"); err != nil ||
		key.Sys().(*syscall.Stat_t).Uid != 65532 {
		t.Errorf("got %v and error %v, want a key that is its user's", key, err)
	}
	n.Stop()
}

// A builder is buildah with a store of its own.
type builder struct {
	path string
	args []string
}

func newBuilder(t *testing.T) *builder {
	t.Helper()
	path := nodetest.Program(t, "buildah", "buildah")
	if os.Getuid() != 0 {
		t.Skip("building and running an image takes root here: it goes by chroot")
	}
	dir := t.TempDir()
	return &builder{path, []string{
		"--root", dir + "/root", "--runroot", dir + "/run",
		"--storage-driver", "vfs",
	}}
}

func (b *builder) run(t *testing.T, args ...string) (stdout string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), b.path, append(b.args, args...)...)
	var stderr guildtest.Text
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("buildah %v: %v\n%s%s", args, err, out, &stderr)
	}
	return strings.TrimSpace(string(out))
}

// standIn makes an image in the place of one that is not to be downloaded here: an empty one, into which
// toolchain mounts this machine's.
func (b *builder) standIn(t *testing.T, image string) {
	t.Helper()
	c := b.run(t, "from", "scratch")
	root := b.run(t, "mount", c)
	if root == "" {
		t.Fatal("got no root of an empty image")
	}
	for _, dir := range []string{
		"tmp", "root", "usr", "bin", "lib", "lib64", "proc", "sys", "dev",
		"etc/ssl/certs",
	} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	const roots = "/etc/ssl/certs/ca-certificates.crt"
	certificates, err := os.ReadFile(roots)
	if err == nil {
		err = os.WriteFile(root+roots, certificates, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	settings := []string{"config", "--env", "HOME=/root", "--env", "PATH=/usr/local/go/bin:/usr/bin:/bin"}
	for _, name := range []string{"GOPROXY", "GONOSUMDB", "GOSUMDB", "GOPRIVATE"} {
		settings = append(settings, "--env", name+"="+goEnv(t, name))
	}
	b.run(t, append(settings, c)...)
	b.run(t, "commit", "-q", c, image)
}

// toolchain are the mounts that make a stand-in a machine like this one.
func (b *builder) toolchain(t *testing.T) (mounts []string) {
	t.Helper()
	for _, m := range []string{
		"/usr:/usr:ro", "/bin:/bin:ro", "/lib:/lib:ro", "/lib64:/lib64:ro",
		goEnv(t, "GOROOT") + ":/usr/local/go:ro",
		goEnv(t, "GOMODCACHE") + ":/root/go/pkg/mod", goEnv(t, "GOCACHE") + ":/root/.cache/go-build",
	} {
		mounts = append(mounts, "-v", m)
	}
	return mounts
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// overTCP makes a database that is reached by a socket in the file system reachable by a port.
func overTCP(t *testing.T, database string) string {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	socket := filepath.Join(q.Get("host"), ".s.PGSQL."+cmp.Or(q.Get("port"), "5432"))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = from.Close() }()
				to, err := net.Dial("unix", socket)
				if err != nil {
					return
				}
				go func() {
					defer func() { _ = to.Close() }()
					_, _ = io.Copy(to, from)
				}()
				_, _ = io.Copy(from, to)
			}()
		}
	}()
	q.Del("host")
	q.Del("port")
	q.Set("sslmode", "disable")
	u.Host, u.RawQuery = listener.Addr().String(), q.Encode()
	return u.String()
}
