package tail_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers/e2e/guildtest"
)

// told is a message of a stream, without the epoch of its cursor.
type told struct{ Number, Data string }

func number(cursor string) string { return guildtest.Number(cursor) }

// tail follows through a proxy that harms most connections, while the server is killed and started again. It
// must print each message once and in order, exactly like a reader without a proxy.
func TestFollowsThroughEverything(t *testing.T) {
	dbtest.Long(t)
	t.Parallel()
	// The server's private Postgres dies with the server, so each start begins a new epoch.
	n := program.Start(t, guildtest.StateDir(t))
	l := guildtest.NewLoad(t, n)
	base := n.Base()
	address := func() string { return base }
	direct := l.Listen("bob", address)
	g := &guild{Node: n, bob: n.Token("bob")}
	bad := newProxy(t, n.Addr())
	p := g.tail(t, t.TempDir(), nil,
		"-url", "http://"+bad.Addr().String(), "-cursor-file", "cursor", "-types", "message.created")
	p.Await("following")

	l.Write(4, address)
	for range 2 {
		l.AwaitMore(150, guildtest.Patience)
		n.Kill()
		n = n.Restart()
	}
	l.AwaitMore(150, guildtest.Patience)
	l.Finish()
	l.Verify(direct, guildtest.Number)
	var want, got []told
	for _, f := range direct.Record().Messages() {
		want = append(want, told{number(f.ID), f.Data})
	}
	guildtest.Eventually(t, "tail has all messages", guildtest.Patience, func() bool {
		return len(messages(objects(t, p.Out.String()))) >= len(want)
	})
	p.Stop()
	all := objects(t, p.Out.String())
	for _, o := range messages(all) {
		got = append(got, told{number(o.ID), string(o.Data)})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("messages (-want from the reader without a proxy +got):\n%s", diff)
	}
	if i := slices.IndexFunc(all[1:], func(o object) bool { return o.Event != "message.created" }); i >= 0 {
		t.Errorf("got %s between the messages, want no events about connections", all[i+1].Event)
	}
	if cursor := readFile(t, p.Cmd.Dir, "cursor"); cursor != all[len(all)-1].ID {
		t.Errorf("got the cursor %s, want the cursor of the last event, %s", cursor, all[len(all)-1].ID)
	}
	t.Logf("%d messages; %d refusals, %d cuts within a frame", len(got), bad.refusals.Load(), bad.cuts.Load())
	if bad.refusals.Load() == 0 || bad.cuts.Load() == 0 {
		t.Error("the proxy did no harm, so this test shows nothing")
	}
}

// The next run continues where the last run ended. If it cannot, it says so.
func TestCursorFile(t *testing.T) {
	t.Parallel()
	g := newGuild(t)
	dir := t.TempDir()
	run := func(args ...string) *guildtest.Running {
		return g.tail(t, dir, nil, append(args, "-cursor-file", "cursor")...)
	}

	p := run()
	p.Await("following " + g.Base() + " as bob\n")
	second := run()
	second.WantExit(1)
	if got := second.Err.String(); !strings.Contains(got, "in use by another tail") {
		t.Errorf("got %q from a second tail, want that the file is in use", got)
	}
	first := g.post(t, "one")
	p.AwaitLines(2)
	p.Stop()
	if diff := cmp.Diff([]string{"stream.ready", "message.created one"},
		names(objects(t, p.Out.String()))); diff != "" {
		t.Errorf("the first run (-want +got):\n%s", diff)
	}
	if got := readFile(t, dir, "cursor"); got != first {
		t.Errorf("got the cursor %s, want the cursor of the message, %s", got, first)
	}
	if exists(dir, "cursor.new") {
		t.Error("a draft of the cursor file is left")
	}

	g.post(t, "two")
	p = run("-cursor", strings.Split(first, ".")[0]+".1") // the file overrides the flag
	p.AwaitLines(1)
	last := g.post(t, "three")
	p.AwaitLines(2)
	p.Stop()
	want := []string{"message.created two", "message.created three"}
	if diff := cmp.Diff(want, names(objects(t, p.Out.String()))); diff != "" {
		t.Errorf("the second run (-want +got):\n%s", diff)
	}

	if err := os.Rename(filepath.Join(dir, "cursor"), filepath.Join(dir, "moved")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("moved", filepath.Join(dir, "cursor")); err != nil {
		t.Fatal(err)
	}
	writeFile(t, "77.5\n", dir, "moved") // a cursor of another database
	p = run()
	p.Await("cannot continue at this cursor (unknown_epoch): events may be missing; following from " + last)
	g.post(t, "four")
	p.AwaitLines(2)
	p.Stop()
	all := objects(t, p.Out.String())
	if diff := cmp.Diff([]string{"stream.reset", "message.created four"}, names(all)); diff != "" {
		t.Errorf("the third run (-want +got):\n%s", diff)
	}
	if info, err := os.Lstat(filepath.Join(dir, "cursor")); err != nil || info.Mode().IsRegular() {
		t.Errorf("got %v and error %v, want the symbolic link unchanged", info, err)
	}
	var reset struct{ Channels []struct{ Name string } }
	if err := json.Unmarshal(all[0].Data, &reset); err != nil || len(reset.Channels) != 1 {
		t.Errorf("got %v and %s, want the channels in the reset", err, all[0].Data)
	}
}

// A run that gets no event saves the cursor at which it began.
func TestCursorOfAQuietRun(t *testing.T) {
	t.Parallel()
	g := newGuild(t)
	dir := t.TempDir()
	p := g.tail(t, dir, nil, "-cursor-file", "cursor", "-exec", "cat")
	guildtest.Eventually(t, "a cursor", guildtest.Patience, func() bool {
		return exists(dir, "cursor") && readFile(t, dir, "cursor") != ""
	})
	p.Signal(syscall.SIGKILL)
	p.WantExit(-1)
	g.post(t, "while no tail runs")
	p = g.tail(t, dir, nil, "-cursor-file", "cursor", "-exec", "cat")
	p.AwaitLines(1)
	got := names(objects(t, p.Out.String()))
	if !slices.Equal(got, []string{"message.created while no tail runs"}) {
		t.Errorf("got %q, want the message between the two runs", got)
	}
	p.Stop()
}

func TestFilters(t *testing.T) {
	t.Parallel()
	g := newGuild(t)
	wakes := g.tail(t, "", nil, "-wakeup")
	echo := g.tail(t, "", nil, "-echo")
	types := g.tail(t, "", nil, "-types", "member.joined")
	channels := g.tail(t, "", nil, "-channels", "00000000-0000-7000-8000-000000000000")
	for _, p := range []*guildtest.Running{wakes, echo, types, channels} {
		p.Await("following")
	}
	g.post(t, "for <@alice> and <@carol>")
	channel := "/api/channels/" + g.channel
	g.request(t, http.MethodPut, channel+"/members/carol", g.alice, nil, nil, http.StatusOK)
	g.post(t, "for <@carol>")
	mine := map[string]any{"content": "mine"}
	g.request(t, http.MethodPost, channel+"/messages", g.bob, mine, nil, http.StatusCreated)
	g.post(t, "for <@bob>")
	for p, want := range map[*guildtest.Running][]string{
		wakes: {"stream.ready", "message.created for <@alice> and <@carol>", "message.created for <@bob>"},
		echo: {
			"stream.ready",
			"message.created for <@alice> and <@carol>",
			"member.joined",
			"message.created for <@carol>",
			"message.created mine",
			"message.created for <@bob>",
		},
		types:    {"stream.ready", "member.joined"},
		channels: {"stream.ready"},
	} {
		p.AwaitLines(len(want))
		p.Stop()
		if diff := cmp.Diff(want, names(objects(t, p.Out.String()))); diff != "" {
			t.Errorf("%v (-want +got):\n%s", p.Cmd.Args[2:], diff)
		}
	}
}
