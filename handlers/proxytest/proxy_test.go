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

	"fabric-guild/handlers/guildtest"
)

// A kind is a proxy as Debian packages it, with the configuration that docs/proxies.md shows for it.
type kind struct {
	name    string // of the package and the program
	config  string // in testdata/proxies
	listen  string // what says there where to listen
	replace string // says instead that it is at the address %[1]s, port %[2]s
	watches bool   // it notices by itself that its client has gone
	// around writes what the installed configuration has beside ours, which is in the file, and returns the
	// program's arguments. Answers are compressed, streams too, and it waits so long for what comes next.
	around func(t *testing.T, p *proxy, file string, idle time.Duration) []string
}

var kinds = []kind{nginx, haproxy, caddy, apache}

// A proxy is one at work.
type proxy struct {
	t     *testing.T
	kind  kind
	bin   string
	dir   string // of its files; others may enter it
	addr  string
	args  []string
	cmd   *exec.Cmd
	ended chan struct{}
	log   guildtest.Text
}

// idle is how long a proxy waits for what comes next, as installed.
const idle = time.Minute

// start runs a proxy in front of servers, and stops it at the test's end. Where it is not installed, the test
// is skipped.
func start(t *testing.T, k kind, idle time.Duration, servers ...*guildtest.Node) *proxy {
	t.Helper()
	bin, err := exec.LookPath(k.name)
	if err != nil {
		bin, err = exec.LookPath("/usr/sbin/" + k.name) // not in everyone's PATH
	}
	if err != nil {
		t.Skipf("this is about a proxy that is not installed: apt install %s", k.name)
	}
	p := &proxy{t: t, kind: k, bin: bin, dir: guildtest.StateDir(t), addr: freeAddress(t)}
	file := p.write(k.config, p.configuration(servers))
	p.args = k.around(t, p, file, idle)
	p.run()
	t.Cleanup(func() {
		p.stop(syscall.SIGKILL)
		if t.Failed() {
			log := p.log.String()
			t.Logf("%s's own words, the last of them:\n%s", k.name, log[max(0, len(log)-4000):])
		}
	})
	return p
}

// configuration is what docs/proxies.md shows, with our addresses.
func (p *proxy) configuration(servers []*guildtest.Node) string {
	p.t.Helper()
	shown, err := os.ReadFile(filepath.Join("../../testdata/proxies", p.kind.config))
	if err != nil {
		p.t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(p.addr)
	mine := bytes.Replace(shown, []byte(p.kind.listen), fmt.Appendf(nil, p.kind.replace, host, port), 1)
	// The line of a server is there once, and its number, where it has one, stands after its name.
	const there = "127.0.0.1:8080"
	line := regexp.MustCompile(`(?m)^.*` + regexp.QuoteMeta(there) + `.*\n`).Find(mine)
	if bytes.Equal(mine, shown) || line == nil {
		p.t.Fatalf("%s does not have what is to be replaced", p.kind.config)
	}
	var lines []byte
	for i, n := range servers {
		one := bytes.Replace(line, []byte(there), []byte(n.Addr()), 1)
		lines = append(lines, bytes.Replace(one, []byte("guild1"), fmt.Append(nil, "guild", i+1), 1)...)
	}
	return string(bytes.Replace(mine, line, lines, 1))
}

// write makes a file of the proxy's and returns its path.
func (p *proxy) write(name, content string) string {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		p.t.Fatal(err)
	}
	return path
}

// run starts the program and waits until it takes connections.
func (p *proxy) run() {
	p.t.Helper()
	p.cmd, p.ended = exec.Command(p.bin, p.args...), make(chan struct{})
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = p.dir, &p.log, &p.log
	p.cmd.Env = append(os.Environ(), "HOME="+p.dir, "XDG_CONFIG_HOME="+p.dir, "XDG_DATA_HOME="+p.dir)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // its workers end with it
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

// stop sends a signal to all of the proxy's processes and waits until they have ended.
func (p *proxy) stop(s syscall.Signal) {
	group := -p.cmd.Process.Pid
	_ = syscall.Kill(group, s)
	guildtest.Eventually(p.t, p.kind.name+" ends", guildtest.Patience, func() bool {
		return p.exited() && errors.Is(syscall.Kill(group, 0), syscall.ESRCH)
	})
}

func (p *proxy) base() string { return "http://" + p.addr }

// seconds is a time as configurations have it.
func seconds(d time.Duration) string { return fmt.Sprint(int(d.Seconds())) }

// freeAddress is one that nobody listens at, and that nobody who asks the system for a port is given.
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
	t.Fatal("found no port that is free")
	return ""
}

// lines puts a configuration together.
func lines(all ...string) string { return strings.Join(all, "\n") + "\n" }
