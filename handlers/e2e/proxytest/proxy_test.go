package proxytest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"fabric-guild/handlers/e2e/guildtest"
)

// A kind is a kind of proxy, as Debian packages it, with its configuration in docs/proxies.md.
type kind struct {
	name    string // of the package and the program
	config  string // file in testdata/proxies
	listen  string // the text in config that says where to listen
	replace string // replaces listen with the address %[1]s and the port %[2]s
	watches bool   // the proxy notices by itself that its client is gone
	// around writes the rest of the configuration, which Debian installs, and returns the program's
	// arguments. file is our configuration. The proxy must compress all answers, also streams, and must close
	// connections that are idle for the time.
	around func(t *testing.T, p *proxy, file string, idle time.Duration) []string
}

var kinds = []kind{nginx, haproxy, caddy, apache}

// A proxy is a running proxy.
type proxy struct {
	t     *testing.T
	kind  kind
	bin   string
	dir   string // of its files; other users may enter it
	addr  string
	args  []string
	cmd   *exec.Cmd
	ended chan struct{}
	log   guildtest.Text
}

// idle is the usual time after which an installed proxy closes an idle connection.
const idle = time.Minute

// start runs a proxy in front of servers, and stops it at the end of the test. If the proxy is not installed,
// start skips the test.
func start(t *testing.T, k kind, idle time.Duration, servers ...*guildtest.Node) *proxy {
	t.Helper()
	bin, err := exec.LookPath(k.name)
	if err != nil {
		bin, err = exec.LookPath("/usr/sbin/" + k.name) // often not in PATH
	}
	if err != nil {
		t.Skipf("this test needs a proxy that is not installed: apt install %s", k.name)
	}
	p := &proxy{t: t, kind: k, bin: bin, dir: guildtest.StateDir(t), addr: freeAddress(t)}
	file := p.write(k.config, p.configuration(servers))
	p.args = k.around(t, p, file, idle)
	p.run()
	t.Cleanup(func() {
		p.stop(syscall.SIGKILL)
		if t.Failed() {
			log := p.log.String()
			t.Logf("end of the log of %s:\n%s", k.name, log[max(0, len(log)-4000):])
		}
	})
	return p
}

// configuration returns the configuration of docs/proxies.md with the addresses of this test.
func (p *proxy) configuration(servers []*guildtest.Node) string {
	p.t.Helper()
	shown, err := os.ReadFile(filepath.Join("../../../testdata/proxies", p.kind.config))
	if err != nil {
		p.t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(p.addr)
	mine := bytes.Replace(shown, []byte(p.kind.listen), fmt.Appendf(nil, p.kind.replace, host, port), 1)
	// The configuration has one line for one server. If that line has a name with a number, the name is
	// guild1.
	const there = "127.0.0.1:8080"
	line := regexp.MustCompile(`(?m)^.*` + regexp.QuoteMeta(there) + `.*\n`).Find(mine)
	if bytes.Equal(mine, shown) || line == nil {
		p.t.Fatalf("%s does not have the texts that this test replaces", p.kind.config)
	}
	var lines []byte
	for i, n := range servers {
		one := bytes.Replace(line, []byte(there), []byte(n.Addr()), 1)
		lines = append(lines, bytes.Replace(one, []byte("guild1"), fmt.Append(nil, "guild", i+1), 1)...)
	}
	return string(bytes.Replace(mine, line, lines, 1))
}

// write writes a file into the proxy's directory and returns its path.
func (p *proxy) write(name, content string) string {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		p.t.Fatal(err)
	}
	return path
}

// run starts the program and blocks until it accepts connections.
func (p *proxy) run() {
	p.t.Helper()
	p.ended = make(chan struct{})
	p.cmd = exec.Command(p.bin, p.args...)
	p.cmd.Dir = p.dir
	p.cmd.Stdout = &p.log
	p.cmd.Stderr = &p.log
	p.cmd.Env = append(os.Environ(), "HOME="+p.dir, "XDG_CONFIG_HOME="+p.dir, "XDG_DATA_HOME="+p.dir)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that stop also reaches its workers
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func(cmd *exec.Cmd, ended chan struct{}) {
		defer close(ended)
		_ = cmd.Wait()
	}(p.cmd, p.ended)
	guildtest.Eventually(p.t, p.kind.name+" listens", guildtest.Patience, func() bool {
		conn, err := net.Dial("tcp", p.addr)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil || p.exited()
	})
	if p.exited() {
		p.t.Fatalf("%s ended at its start: %s", p.kind.name, &p.log)
	}
}

func (p *proxy) exited() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// stop sends a signal to all processes of the proxy, and blocks until they have ended.
func (p *proxy) stop(s syscall.Signal) {
	group := -p.cmd.Process.Pid
	_ = syscall.Kill(group, s)
	guildtest.Eventually(p.t, p.kind.name+" ends", guildtest.Patience, func() bool {
		return p.exited() && errors.Is(syscall.Kill(group, 0), syscall.ESRCH)
	})
}

func (p *proxy) base() string { return "http://" + p.addr }

// seconds returns a time for a configuration.
func seconds(d time.Duration) string { return fmt.Sprint(int(d.Seconds())) }

// freeAddress returns an address on which nobody listens. Its port is outside the range from which the system
// chooses free ports, so no other program gets it.
func freeAddress(t *testing.T) string {
	t.Helper()
	const first, ports = 20000, 12000
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", first+rand.N(ports)))
		if err == nil {
			_ = l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("found no free port")
	return ""
}

// lines joins the lines of a configuration.
func lines(all ...string) string { return strings.Join(all, "\n") + "\n" }
