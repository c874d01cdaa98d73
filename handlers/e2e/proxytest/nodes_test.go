package proxytest

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers/e2e/guildtest"
)

// Three servers share the streams. During posts, one server is killed, and then another one is drained. All
// their streams reconnect to the remaining servers, and every stream gets the same messages. The test is not
// parallel, because it needs the whole machine.
func TestServersComeAndGoBehindAProxy(t *testing.T) {
	const users, each = 100, 15 // in the end all streams are on one server, which allows 16 for each user
	for _, k := range []kind{nginx, haproxy} {
		t.Run(k.name, func(t *testing.T) {
			state := guildtest.StateDir(t)
			url := dbtest.New(t)
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
			go func() {
				defer close(posted)
				c.post(4, 100)
			}()
			for i, harm := range []func(){servers[0].Kill, servers[1].Stop} {
				guildtest.Eventually(t, "more posts", guildtest.Patience, func() bool {
					return c.acknowledged() >= (i+1)*30
				})
				t.Logf("%d streams end", connections(t, servers[i]))
				begun := c.begun()
				harm()
				guildtest.Eventually(t, "the streams move", guildtest.Patience, func() bool {
					if c.begun() < begun+users*each/4 {
						return false // the count below costs more
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

// Servers are restarted one after the other, and one of two is always up. Then a proxy answers every request,
// also right after the restart of a server that it has found down. HAProxy is not here: it lets a server that
// was down wait for two of its checks.
func TestServersAreRestartedBehindAProxy(t *testing.T) {
	t.Parallel()
	const requests = 20
	for _, k := range []kind{nginx, caddy} {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			state := guildtest.StateDir(t)
			url := dbtest.New(t)
			var servers []*guildtest.Node
			for range 2 {
				n := program.Start(t, state, "-database-url", url, "-addr", freeAddress(t))
				servers = append(servers, n)
			}
			health := start(t, k, idle, servers...).base() + "/healthz"
			for round := range 4 {
				down := servers[round%2]
				down.Stop()
				for i := range requests {
					status, err := guildtest.Call(t.Context(), http.MethodGet, health, "", nil, nil)
					if err != nil || status != http.StatusOK {
						t.Errorf("restart %d, request %d: got %d and error %v, want the other "+
							"server's answer", round, i, status, err)
					}
				}
				servers[round%2] = program.Start(t, state, "-database-url", url, "-addr", down.Addr())
			}
		})
	}
}

// connections returns the number of connections to a server. Each stream has one.
func connections(t *testing.T, n *guildtest.Node) int {
	t.Helper()
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Skip("this test needs /proc/net/tcp")
	}
	_, port, _ := net.SplitHostPort(n.Addr())
	number, _ := strconv.Atoi(port)
	established := regexp.MustCompile(fmt.Sprintf(`(?m)^ *\d+: [0-9A-F]{8}:%04X [0-9A-F:]+ 01 `, number))
	return len(established.FindAll(table, -1))
}

// A stream at one server gets a message of another server at once, by the doorbell. It does not wait for the
// next poll.
func TestAcrossServers(t *testing.T) {
	t.Parallel()
	state := guildtest.StateDir(t)
	url := dbtest.New(t)
	here := program.Start(t, state, "-database-url", url)
	there := program.Start(t, state, "-database-url", url)
	l := guildtest.NewLoad(t, here)
	bob := here.Token("bob")
	a := open(t, here.Base()+live, bob, "")
	b := open(t, there.Base()+live, bob, "")
	a.begin()
	b.begin()
	var local, remote []time.Duration
	for i := range 100 {
		content := fmt.Sprint("step ", i)
		began := time.Now()
		posted := post(t, l, here.Base(), content)
		a.await(content, soon)
		local = append(local, time.Since(began))
		b.await(content, soon)
		remote = append(remote, time.Since(began))
		<-posted
	}
	a.wantFewBeats(len(local))
	b.wantFewBeats(len(remote))
	slices.Sort(local)
	slices.Sort(remote)
	t.Logf("median time from a post to its event: %s at the same server, %s at another one",
		milliseconds(local[50]), milliseconds(remote[50]))
}
