package faultstest

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	_ "fabric-guild/handlers" // a change of this package must not leave the results of these tests cached
	"fabric-guild/handlers/config"
	"fabric-guild/handlers/e2e/guildtest"
)

var program guildtest.Program

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		fmt.Println("skipped by -short")
		return
	}
	_ = flag.Set("test.parallel", "6") // these tests mostly wait
	os.Exit(program.Main(m, config.EnvPrefix))
}

// pause is a writer's pause before each post. It is long, because several tests share the machine.
const pause = 8 * time.Millisecond

// quiet is the largest number of goroutines of a server without clients. It has 27 while it answers /metrics,
// and a few more or less, because the answer is collected by several.
const quiet = 28

// A scene is a server under load, before a fault.
type scene struct {
	*testing.T
	n       *guildtest.Node
	l       *guildtest.Load
	readers []*guildtest.Reader
	before  guildtest.Vitals
}

// begin puts a server under load, with three readers and those that more starts.
func begin(t *testing.T, n *guildtest.Node, more ...func(l *guildtest.Load) *guildtest.Reader) *scene {
	t.Helper()
	s := &scene{T: t, n: n, l: guildtest.NewLoad(t, n)}
	base := n.Base() // a restart does not change it
	address := func() string { return base }
	for _, user := range []string{"bob", "bob", "carol"} {
		s.readers = append(s.readers, s.l.Listen(user, address))
	}
	for _, listen := range more {
		s.readers = append(s.readers, listen(s.l))
	}
	s.l.Pause = pause
	s.l.Write(4, address)
	s.l.AwaitMore(100, guildtest.Recovery)
	s.before = n.Vitals()
	return s
}

// refused blocks until the fault has an effect: a killed Postgres may still answer for a moment.
func (s *scene) refused() {
	s.Helper()
	before := s.l.Counts().Refused
	guildtest.Eventually(s, "posts are refused", guildtest.Recovery, func() bool {
		return s.l.Counts().Refused > before
	})
}

// recovered blocks until the server has recovered, and logs how long that took. The test must end the fault
// first.
func (s *scene) recovered() {
	s.Helper()
	s.Logf("recovered after %v", s.l.Recover(s.n).Round(10*time.Millisecond))
	s.l.AwaitMore(100, guildtest.Recovery)
}

// holds checks that the server survived the fault. Whatever happens to Postgres, streams must wait, and posts
// must get an answer.
func (s *scene) holds() {
	s.Helper()
	if s.n.Exited() {
		s.Error("the server ended, want it to run")
	}
	if got := s.l.Counts().Failed; got > 0 {
		s.Errorf("got %d posts without an answer, want the server to answer all posts", got)
	}
	for _, r := range s.readers {
		if got := r.Record().Ends; got > 0 {
			s.Errorf("%s: the stream ended %d times, want it to wait", r.User, got)
		}
	}
}

// said stops a WatchReadiness and checks its answers. Postgres comes back by itself, within a second on a
// quick machine: so the looks may miss that it was unavailable. After that, log_stale is allowed too: the
// server must still read the event log.
func (s *scene) said(stop func() []string, want ...string) {
	s.Helper()
	away := func(said string) bool { return said == "database_unavailable" || said == "log_stale" }
	got := stop()
	if slices.ContainsFunc(want, away) {
		got = slices.DeleteFunc(got, away)
		want = slices.DeleteFunc(want, away)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		s.Errorf("/readyz (-want +got):\n%s", diff)
	}
}

// end checks the messages of every stream, and that the server holds no more resources than before.
func (s *scene) end() {
	s.Helper()
	s.l.Finish()
	for _, r := range s.readers {
		s.l.Verify(r, guildtest.Number)
	}
	s.leavesNothing()
}

// leavesNothing checks that the server holds no more resources than before.
func (s *scene) leavesNothing() {
	s.Helper()
	after := s.n.Vitals()
	s.Logf("before %+v, after %+v", s.before, after)
	// The pool may have grown to its 20 connections. The Go runtime never ends threads that it once started.
	if after.Files > s.before.Files+30 || after.Threads > s.before.Threads+20 {
		s.Errorf("got %+v, want no more files and threads than before: %+v", after, s.before)
	}
	if after.Peak > s.before.Peak+64 {
		s.Errorf("got a peak of %d MiB, want at most 64 more than before: %d", after.Peak, s.before.Peak)
	}
	s.l.HangUp()
	guildtest.Eventually(s, "the server closes the connections of clients that are gone", guildtest.Patience,
		func() bool { return len(s.n.Connections()) == 0 })
	s.n.AwaitGoroutines(quiet)
}
