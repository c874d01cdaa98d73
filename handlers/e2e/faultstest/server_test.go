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
	"fabric-guild/handlers/e2e/guildtest"
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

// The reader of the log ends before the server, as with "serve | tee" after Ctrl-C.
func TestReaderOfTheLogIsGone(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(program.Path, "serve", "-state", guildtest.StateDir(t), "-addr", "127.0.0.1:0",
		"-log-level", "debug", "-database-url", dbtest.New(t))
	cmd.Env = program.Environment(nil)
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }() // fails if the server has ended
	lines := bufio.NewScanner(log)
	for lines.Scan() && !strings.Contains(lines.Text(), "msg=ready") {
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if cmd.ProcessState.ExitCode() != 0 {
		t.Errorf("got %v, want exit 0", cmd.ProcessState)
	}
}

func TestServerIsStopped(t *testing.T) {
	t.Parallel()
	state := guildtest.StateDir(t)
	s := begin(t, program.Start(t, state))
	postmaster := s.n.Postmaster()
	bob := s.readers[0]
	finish := s.l.PostSlowly(s.n, s.l.Channels[1], "slow")
	s.n.Signal(syscall.SIGTERM)
	for _, r := range s.readers {
		r.AwaitClosing()
	}
	if s.n.Exited() {
		t.Error("the server ended, want it to wait for the running request")
	}
	finish()
	s.n.AwaitExit(0)
	if err := syscall.Kill(postmaster, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("got %v from a signal to Postgres, want that it has ended", err)
	}
	if !guildtest.LockFree(t, state) {
		t.Error("processes of Postgres still run, want none")
	}

	before := bob.Record() // cannot change while there is no server
	s.n = s.n.Restart()
	s.recovered()
	bob.Await("the message after the end of its stream",
		func(got guildtest.Record) bool { return got.Heard("slow") })
	want := guildtest.Frame{
		Event: "stream.ready",
		Data:  fmt.Sprintf(`{"cursor":%q,"userId":"bob","resumed":true}`, before.Cursor),
		ID:    before.Cursor,
	}
	if diff := cmp.Diff(want, bob.Record().Frames[len(before.Frames)]); diff != "" {
		t.Errorf("the first frame after the second start (-want +got):\n%s", diff)
	}
	s.end()
}

// A second server with the state directory or the address of a running server ends and says why. The first
// server is not affected.
func TestServerIsStartedTwice(t *testing.T) {
	t.Parallel()
	state := guildtest.StateDir(t)
	s := begin(t, program.Start(t, state))
	said := s.n.WatchReadiness()
	_, stderr, code := program.Run(t, nil, "serve", "-state", state, "-addr", "127.0.0.1:0")
	want := fmt.Sprintf("in use by another instance (process %d)", s.n.Pid())
	if code != 1 || !guildtest.IsOneLine(stderr) || !strings.Contains(stderr, want) {
		t.Errorf("the same state: got exit %d and %q, want 1 and one line with %q", code, stderr, want)
	}
	other := guildtest.StateDir(t)
	_, stderr, code = program.Run(t, nil, "serve", "-state", other, "-addr", s.n.Addr())
	if code != 1 || !guildtest.IsOneLine(stderr) ||
		!strings.Contains(stderr, "address already in use") || !strings.Contains(stderr, "-addr") {
		t.Errorf("the same address: got exit %d and %q, want 1 and one line that names -addr", code, stderr)
	}
	if _, err := os.Stat(filepath.Join(other, "postgres")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v for the cluster of a server without a port, want that no cluster exists", err)
	}
	s.said(said, guildtest.Ready)
	s.holds()
	s.end()
}

// Two servers share a database. One of them is killed, and its clients reconnect to the other.
func TestOneOfTwoServersIsKilled(t *testing.T) {
	t.Parallel()
	state := guildtest.StateDir(t)
	url := dbtest.New(t)
	a := program.Start(t, state, "-database-url", url)
	b := program.Start(t, state, "-database-url", url)
	l := guildtest.NewLoad(t, a)
	aThenB := func() string {
		if a.Exited() {
			return b.Base()
		}
		return a.Base()
	}
	var readers []*guildtest.Reader
	for _, user := range []string{"bob", "carol"} {
		// both must get the same messages
		readers = append(readers, l.Listen(user, aThenB), l.Listen(user, b.Base))
	}
	l.Write(3, aThenB)
	l.Write(3, b.Base)
	l.AwaitMore(100, guildtest.Recovery)
	commit := l.HoldOpen(url, "late")
	l.AwaitMore(100, guildtest.Recovery) // meanwhile others commit messages with greater numbers
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
			t.Errorf("%s: got %d messages, want the same %d as %s; the first difference is at index %d",
				r.User, len(got), len(want), readers[0].User, i)
		}
	}
	b.Stop()
}
