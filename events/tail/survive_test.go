package tail_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/handlers/guildtest"
)

// told is a message as a stream tells it, whatever epoch its cursor is counted in.
type told struct{ Number, Data string }

func number(cursor string) string { return guildtest.Number(cursor) }

// Through a proxy that spoils most connections, to a server that is killed and comes back: each event once, in
// order, as a reader without a proxy has it.
func TestFollowsThroughEverything(t *testing.T) {
	t.Parallel()
	n := program.Start(t, guildtest.StateDir(t)) // with a Postgres that goes with it: each life is an epoch
	l, base := guildtest.NewLoad(t, n), n.Base()
	address := func() string { return base }
	direct := l.Listen("bob", address)
	g := &guild{Node: n, bob: n.Token("bob")}
	bad := newProxy(t, n.Addr())
	p := g.tail(t, t.TempDir(), nil, "-url", "http://"+bad.Addr().String(), "-cursor-file", "cursor", "-types", "message.created")
	p.await("following")

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
	guildtest.Eventually(t, "tail has it all", guildtest.Patience, func() bool {
		return len(messages(objects(t, p.out.String()))) >= len(want)
	})
	p.stop()
	all := objects(t, p.out.String())
	for _, o := range messages(all) {
		got = append(got, told{number(o.ID), string(o.Data)})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("messages (-want, as heard directly +got):\n%s", diff)
	}
	if i := slices.IndexFunc(all[1:], func(o object) bool { return o.Event != "message.created" }); i >= 0 {
		t.Errorf("got %s amid the messages, want nothing of connections", all[i+1].Event)
	}
	if cursor := readFile(t, p.cmd.Dir, "cursor"); cursor != all[len(all)-1].ID {
		t.Errorf("got the cursor %s, want the last event's, %s", cursor, all[len(all)-1].ID)
	}
	t.Logf("%d messages; %d refusals, %d cuts within a frame", len(got), bad.refusals.Load(), bad.cuts.Load())
	if bad.refusals.Load() == 0 || bad.cuts.Load() == 0 {
		t.Error("got a proxy that did no harm, want one that does: else this test shows nothing")
	}
}

// The next run goes on where the last one ended; where that cannot be, it says so.
func TestCursorFile(t *testing.T) {
	t.Parallel()
	g, dir := newGuild(t), t.TempDir()
	run := func(args ...string) *process { return g.tail(t, dir, nil, append(args, "-cursor-file", "cursor")...) }

	p := run()
	p.await("following " + g.Base() + " as bob\n")
	second := run()
	second.wantExit(1)
	if got := second.err.String(); !strings.Contains(got, "in use by another tail") {
		t.Errorf("got %q of a second one, want that the first has the file", got)
	}
	first := g.post(t, "one")
	p.awaitLines(2)
	p.stop()
	if diff := cmp.Diff([]string{"stream.ready", "message.created one"}, names(objects(t, p.out.String()))); diff != "" {
		t.Errorf("the first run (-want +got):\n%s", diff)
	}
	if got := readFile(t, dir, "cursor"); got != first {
		t.Errorf("got the cursor %s, want the message's, %s", got, first)
	}
	if exists(dir, "cursor.new") {
		t.Error("got a draft of the cursor's file, want none left")
	}

	g.post(t, "two")
	p = run("-cursor", strings.Split(first, ".")[0]+".1") // the file wins
	p.awaitLines(1)
	last := g.post(t, "three")
	p.awaitLines(2)
	p.stop()
	if diff := cmp.Diff([]string{"message.created two", "message.created three"}, names(objects(t, p.out.String()))); diff != "" {
		t.Errorf("the second run (-want +got):\n%s", diff)
	}

	if err := os.Rename(filepath.Join(dir, "cursor"), filepath.Join(dir, "moved")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("moved", filepath.Join(dir, "cursor")); err != nil {
		t.Fatal(err)
	}
	writeFile(t, "77.5\n", dir, "moved") // of another database
	p = run()
	p.await("cannot go on at this cursor (unknown_epoch): events may be missing; following from " + last)
	g.post(t, "four")
	p.awaitLines(2)
	p.stop()
	all := objects(t, p.out.String())
	if diff := cmp.Diff([]string{"stream.reset", "message.created four"}, names(all)); diff != "" {
		t.Errorf("the third run (-want +got):\n%s", diff)
	}
	if info, err := os.Lstat(filepath.Join(dir, "cursor")); err != nil || info.Mode().IsRegular() {
		t.Errorf("got %v and error %v, want the link as it was", info, err)
	}
	var reset struct{ Channels []struct{ Name string } }
	if err := json.Unmarshal(all[0].Data, &reset); err != nil || len(reset.Channels) != 1 {
		t.Errorf("got %v and %s, want the channels with it", err, all[0].Data)
	}
}

// A run that has seen no event has seen where it began.
func TestCursorOfAQuietRun(t *testing.T) {
	t.Parallel()
	g, dir := newGuild(t), t.TempDir()
	p := g.tail(t, dir, nil, "-cursor-file", "cursor", "-exec", "cat")
	guildtest.Eventually(t, "a cursor", guildtest.Patience, func() bool { return exists(dir, "cursor") && readFile(t, dir, "cursor") != "" })
	p.signal(9)
	p.wantExit(-1)
	g.post(t, "while it was away")
	p = g.tail(t, dir, nil, "-cursor-file", "cursor", "-exec", "cat")
	p.awaitLines(1)
	if got := names(objects(t, p.out.String())); !slices.Equal(got, []string{"message.created while it was away"}) {
		t.Errorf("got %q, want what came meanwhile", got)
	}
	p.stop()
}

func TestFilters(t *testing.T) {
	t.Parallel()
	g := newGuild(t)
	wakes, echo, types, channels := g.tail(t, "", nil, "-wakeup"), g.tail(t, "", nil, "-echo"),
		g.tail(t, "", nil, "-types", "member.joined"), g.tail(t, "", nil, "-channels", "00000000-0000-7000-8000-000000000000")
	for _, p := range []*process{wakes, echo, types, channels} {
		p.await("following")
	}
	g.post(t, "for <@alice> and <@carol>")
	if status, err := guildtest.Call(t.Context(), http.MethodPut, g.Base()+"/api/channels/"+g.channel+"/members/carol", g.alice, nil, nil); err != nil || status != 200 {
		t.Fatalf("got %d and %v", status, err)
	}
	g.post(t, "for <@carol>")
	if status, err := guildtest.Call(t.Context(), http.MethodPost, g.Base()+"/api/channels/"+g.channel+"/messages", g.bob, map[string]any{"content": "mine"}, nil); err != nil || status != 201 {
		t.Fatalf("got %d and %v", status, err)
	}
	g.post(t, "for <@bob>")
	for p, want := range map[*process][]string{
		wakes:    {"stream.ready", "message.created for <@alice> and <@carol>", "message.created for <@bob>"},
		echo:     {"stream.ready", "message.created for <@alice> and <@carol>", "member.joined", "message.created for <@carol>", "message.created mine", "message.created for <@bob>"},
		types:    {"stream.ready", "member.joined"},
		channels: {"stream.ready"},
	} {
		p.awaitLines(len(want))
		p.stop()
		if diff := cmp.Diff(want, names(objects(t, p.out.String()))); diff != "" {
			t.Errorf("%v (-want +got):\n%s", p.cmd.Args[2:], diff)
		}
	}
}
