package proxytest

import (
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers/guildtest"
)

// Three servers share the streams. One is killed while posts go on, another one is drained: all of their
// streams come back at those that are left, and every stream has heard the same. It takes the whole machine, so
// it is no parallel one.
func TestServersComeAndGoBehindAProxy(t *testing.T) {
	const users, each = 100, 15 // 16 streams of a user fit on a server, and all end on one
	for _, k := range []kind{nginx, haproxy} {
		t.Run(k.name, func(t *testing.T) {
			state, url := guildtest.StateDir(t), dbtest.New(t)
			var servers []*guildtest.Node
			for range 3 {
				servers = append(servers, program.Start(t, state, "-database-url", url))
			}
			p := start(t, k, idle, servers...)
			c := gather(t, servers[0], p.base(), users, each)
			for i, n := range servers {
				if got := connections(t, n); got < users*each/4 {
					t.Errorf("got %d streams at server %d, want about a third of %d", got, i, users*each)
				}
			}
			posted := make(chan struct{})
			go func() { defer close(posted); c.post(4, 100) }()
			for i, harm := range []func(){servers[0].Kill, servers[1].Stop} {
				guildtest.Eventually(t, "posts", guildtest.Patience, func() bool { return c.acknowledged() >= (i+1)*30 })
				t.Logf("%d streams end", connections(t, servers[i]))
				begun := c.begun()
				harm()
				guildtest.Eventually(t, "the streams move", guildtest.Patience, func() bool {
					if c.begun() < begun+users*each/4 {
						return false // before the dearer count
					}
					n := 0
					for _, s := range servers[i+1:] {
						n += connections(t, s)
					}
					return n >= users*each
				})
			}
			<-posted
			c.verify()
		})
	}
}

// connections are those to a server, of which each stream is one.
func connections(t *testing.T, n *guildtest.Node) int {
	t.Helper()
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Skip("this is counted in /proc/net/tcp")
	}
	_, port, _ := net.SplitHostPort(n.Addr())
	number, _ := strconv.Atoi(port)
	established := regexp.MustCompile(fmt.Sprintf(`(?m)^ *\d+: [0-9A-F]{8}:%04X [0-9A-F:]+ 01 `, number))
	return len(established.FindAll(table, -1))
}

// What one server stores is heard at another one without waiting for the poll behind the doorbell.
func TestAcrossServers(t *testing.T) {
	t.Parallel()
	state, url := guildtest.StateDir(t), dbtest.New(t)
	here, there := program.Start(t, state, "-database-url", url), program.Start(t, state, "-database-url", url)
	l, bob := guildtest.NewLoad(t, here), here.Token("bob")
	a, b := open(t, here.Base()+live, bob, ""), open(t, there.Base()+live, bob, "")
	a.begin()
	b.begin()
	var local, remote []time.Duration
	for i := range 100 {
		content := fmt.Sprint("step ", i)
		began := time.Now()
		posted := post(t, l, here.Base(), content)
		a.await(content, soon)
		local = append(local, time.Since(began))
		b.await(content, soon) // of 100 polls a heartbeat would come before the last
		remote = append(remote, time.Since(began))
		<-posted
	}
	slices.Sort(local)
	slices.Sort(remote)
	t.Logf("from a post to its event, median: %s at the same server, %s at another one", milliseconds(local[50]), milliseconds(remote[50]))
}
