package faultstest

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	_ "fabric-guild/handlers" // whoever changes it wants these tests to run anew
	"fabric-guild/handlers/config"
	"fabric-guild/handlers/guildtest"
)

var program guildtest.Program

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		fmt.Println("left out by -short")
		return
	}
	_ = flag.Set("test.parallel", "6") // they wait more than they work
	os.Exit(program.Main(m, config.EnvPrefix))
}

// pause is what a writer makes before each post: several tests share the machine.
const pause = 8 * time.Millisecond

// quiet is what a server without clients has in goroutines.
const quiet = 25

// A scene is a server under load, to which something is about to happen.
type scene struct {
	*testing.T
	n       *guildtest.Node
	l       *guildtest.Load
	readers []*guildtest.Reader
	before  guildtest.Vitals
}

// begin puts a server under load, to which more readers listen besides those that it always has.
func begin(t *testing.T, n *guildtest.Node, more ...func(l *guildtest.Load) *guildtest.Reader) *scene {
	t.Helper()
	s := &scene{T: t, n: n, l: guildtest.NewLoad(t, n)}
	base := n.Base() // it stays the same over a restart
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

// refused waits until the harm is felt: a killed Postgres may answer for a moment.
func (s *scene) refused() {
	s.Helper()
	before := s.l.Counts().Refused
	guildtest.Eventually(s, "posts are refused", guildtest.Recovery, func() bool { return s.l.Counts().Refused > before })
}

// recovered is called when the harm has ended, and notes how long it takes until its traces have, too.
func (s *scene) recovered() {
	s.Helper()
	s.Logf("recovered after %v", s.l.Recover(s.n).Round(10*time.Millisecond))
	s.l.AwaitMore(100, guildtest.Recovery)
}

// holds checks that the server lived on: whatever befalls Postgres, streams wait and posts are answered.
func (s *scene) holds() {
	s.Helper()
	if s.n.Exited() {
		s.Error("got an exit, want the server to live on")
	}
	if got := s.l.Counts().Failed; got > 0 {
		s.Errorf("got %d posts without an answer, want the server to answer them all", got)
	}
	for _, r := range s.readers {
		if got := r.Record().Ends; got > 0 {
			s.Errorf("%s: got %d ends of the stream, want that it waits", r.User, got)
		}
	}
}

// said checks all that /readyz has said. When the database is back, the log is still to be read.
func (s *scene) said(stop func() []string, want ...string) {
	s.Helper()
	back := slices.Contains(want, "database_unavailable")
	got := slices.DeleteFunc(stop(), func(said string) bool { return back && said == "log_stale" })
	if diff := cmp.Diff(want, got); diff != "" {
		s.Errorf("/readyz (-want +got):\n%s", diff)
	}
}

// end checks what every stream saw, and what the server is left with.
func (s *scene) end() {
	s.Helper()
	s.l.Finish()
	for _, r := range s.readers {
		s.l.Verify(r, guildtest.Number)
	}
	s.leavesNothing()
}

// leavesNothing checks that the server does not hold more than before.
func (s *scene) leavesNothing() {
	s.Helper()
	after := s.n.Vitals()
	s.Logf("before %+v, after %+v", s.before, after)
	// The pool may have grown to its 20 connections, and the runtime keeps threads that it once had to start.
	if after.Files > s.before.Files+30 || after.Threads > s.before.Threads+20 {
		s.Errorf("got %+v, want no more files and threads than before: %+v", after, s.before)
	}
	if after.Peak > s.before.Peak+64 {
		s.Errorf("got %d MiB at most, want at most 64 more than before: %d", after.Peak, s.before.Peak)
	}
	s.l.HangUp()
	guildtest.Eventually(s, "the server closes the connections of clients who are gone", guildtest.Patience, func() bool { return len(s.n.Connections()) == 0 })
	s.n.AwaitGoroutines(quiet)
}

// connect opens a connection past the server.
