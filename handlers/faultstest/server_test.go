package faultstest

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers/guildtest"
)

func TestServerIsKilled(t *testing.T) {
	t.Parallel()
	s := begin(t, program.Start(t, guildtest.StateDir(t)))
	for range 3 {
		s.n.Kill()
		s.n = s.n.Restart()
		s.recovered()
	}
	s.end()
}

// Whoever read the log has gone first: of "serve | tee", after Ctrl-C.
func TestNobodyReadsTheLogAnyMore(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(program.Path, "serve", "-state", guildtest.StateDir(t), "-addr", "127.0.0.1:0", "-log-level", "debug", "-database-url", dbtest.New(t))
	cmd.Env = program.Environment(nil)
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }() // it may have ended
	lines := bufio.NewScanner(log)
	for lines.Scan() && !strings.Contains(lines.Text(), "msg=ready") {
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 0 {
		t.Errorf("got %v, want an end in order", cmd.ProcessState)
	}
}

func TestServerIsStopped(t *testing.T) {
	t.Parallel()
	state := guildtest.StateDir(t)
	s := begin(t, program.Start(t, state))
	postmaster, bob := s.n.Postmaster(), s.readers[0]
	finish := s.l.PostSlowly(s.n, s.l.Channels[1], "slow")
	s.n.Signal(syscall.SIGTERM)
	for _, r := range s.readers {
		r.AwaitClosing()
	}
	if s.n.Exited() {
		t.Error("got an exit, want the request in flight awaited")
	}
	finish()
	s.n.AwaitExit(0)
	if err := syscall.Kill(postmaster, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("got %v from a signal to Postgres, want that it has ended", err)
	}
	if !guildtest.LockFree(t, state) {
		t.Error("got processes of Postgres that live on, want none")
	}

	before := bob.Record() // it stands still: there is no server
	s.n = s.n.Restart()
	s.recovered()
	bob.Await("what came after its stream", func(got guildtest.Record) bool { return got.Heard("slow") })
	want := guildtest.Frame{Event: "stream.ready", Data: fmt.Sprintf(`{"cursor":%q,"userId":"bob","resumed":true}`, before.Cursor), ID: before.Cursor}
	if diff := cmp.Diff(want, bob.Record().Frames[len(before.Frames)]); diff != "" {
		t.Errorf("the first frame after the second start (-want +got):\n%s", diff)
	}
	s.end()
}

// A second server on the state directory of one at work, or at its address, ends and says why; the first one
// does not notice.
func TestServerIsStartedTwice(t *testing.T) {
	t.Parallel()
	state := guildtest.StateDir(t)
	s := begin(t, program.Start(t, state))
	said := s.n.WatchReadiness()
	_, stderr, code := program.Run(t, nil, "serve", "-state", state, "-addr", "127.0.0.1:0")
	if want := fmt.Sprintf("in use by another instance (process %d)", s.n.Pid()); code != 1 || !guildtest.IsOneLine(stderr) || !strings.Contains(stderr, want) {
		t.Errorf("the same state: got exit %d and %q, want 1 and a line with %q", code, stderr, want)
	}
	other := guildtest.StateDir(t)
	_, stderr, code = program.Run(t, nil, "serve", "-state", other, "-addr", s.n.Addr())
	if code != 1 || !guildtest.IsOneLine(stderr) || !strings.Contains(stderr, "address already in use") || !strings.Contains(stderr, "-addr") {
		t.Errorf("the same address: got exit %d and %q, want 1 and a line that tells of -addr", code, stderr)
	}
	if _, err := os.Stat(filepath.Join(other, "postgres")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v for the cluster of a server without a port, want that there is none", err)
	}
	s.said(said, guildtest.Ready)
	s.holds()
	s.end()
}

// One of two servers on a database is killed, and its clients go to the other.
func TestOneOfTwoServersIsKilled(t *testing.T) {
	t.Parallel()
	state, url := guildtest.StateDir(t), dbtest.New(t)
	a, b := program.Start(t, state, "-database-url", url), program.Start(t, state, "-database-url", url)
	l := guildtest.NewLoad(t, a)
	aThenB := func() string {
		if a.Exited() {
			return b.Base()
		}
		return a.Base()
	}
	var readers []*guildtest.Reader
	for _, user := range []string{"bob", "carol"} {
		readers = append(readers, l.Listen(user, aThenB), l.Listen(user, b.Base)) // both of a user carry the same
	}
	l.Write(3, aThenB)
	l.Write(3, b.Base)
	l.AwaitMore(100, guildtest.Recovery)
	commit := l.HoldOpen(url, "late")
	l.AwaitMore(100, guildtest.Recovery) // others commit what has a greater number
	commit()
	a.Kill()
	t.Logf("recovered after %v", l.Recover(b).Round(10*time.Millisecond))
	l.AwaitMore(100, guildtest.Recovery)
	l.Finish()
	want := readers[0].Record().Messages()
	for _, r := range readers {
		l.Verify(r, guildtest.Whole)
		if got := r.Record().Messages(); !slices.Equal(got, want) {
			i := 0
			for i < min(len(got), len(want)) && got[i] == want[i] {
				i++
			}
			t.Errorf("%s: got %d events, want the same %d as %s; they part at number %d", r.User, len(got), len(want), readers[0].User, i)
		}
	}
	b.Stop()
}
