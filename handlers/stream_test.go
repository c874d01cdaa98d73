package handlers_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAFreshStreamBeginsWithItsHeadAndASnapshot(t *testing.T) {
	t.Parallel()
	overTransports(t, func(t *testing.T, n *node, over transport) {
		alice := n.user("alice")
		ops := alice.general(t, "ops", "bob")
		n.user("bob").general(t, "without alice")
		report := n.user("bob").create(t, newChannel{GuildID: "g2", Name: "news", XType: "report", Members: []string{"alice"}, History: "all"})
		s, ready := alice.fresh(t, over, "")
		for name, want := range map[string]string{
			"Content-Type": "text/event-stream", "Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no",
		} {
			if got := s.resp.Header.Values(name); len(got) != 1 || got[0] != want {
				t.Errorf("%s: got %q, want %q once", name, got, want)
			}
		}
		if s.resp.Header.Get("X-Request-Id") == "" {
			t.Error("got no X-Request-Id, want one")
		}
		if got, want := s.resp.ProtoMajor, map[bool]int{true: 2, false: 1}[over.h2c || over.h2]; got != want {
			t.Errorf("got HTTP/%d, want HTTP/%d", got, want)
		}
		want := readyData{Cursor: report.Cursor, UserID: "alice", Channels: &[]channel{ops.Channel, report.Channel}}
		if diff := cmp.Diff(want, ready); diff != "" {
			t.Errorf("stream.ready (-want +got):\n%s", diff)
		}
	})
}

func TestAUserOfNoChannelsGetsAnEmptySnapshot(t *testing.T) {
	t.Parallel()
	overTransports(t, func(t *testing.T, n *node, over transport) {
		s := n.user("alice").open(t, over, "")
		f := s.next(t)
		ready := data[readyData](t, f, "stream.ready")
		if ready.Channels == nil || len(*ready.Channels) != 0 || f.id != ready.Cursor || !strings.Contains(f.data, `"channels":[]`) {
			t.Errorf("got %s, want an empty list of channels and the cursor as id", f.raw)
		}
	})
}

func TestMembersHearMemberships(t *testing.T) {
	t.Parallel()
	overTransports(t, func(t *testing.T, n *node, over transport) {
		alice, bob, carol := n.user("alice"), n.user("bob"), n.user("carol")
		as, _ := alice.fresh(t, over, "")
		bs, _ := bob.fresh(t, over, "")
		cs, _ := carol.fresh(t, over, "")

		ops := alice.general(t, "ops", "bob")
		shape := func(user string) membership {
			return membership{ChannelID: ops.Channel.ID, UserID: user, XType: "general", GuildID: "g1", Name: "ops"}
		}
		hears := func(s *stream, event string, want membership, cursor string) {
			t.Helper()
			f := s.next(t)
			got := data[membership](t, f, event)
			if !isTime(got.OccurredAt) {
				t.Errorf("got occurredAt %q, want RFC 3339 in UTC with milliseconds", got.OccurredAt)
			}
			got.OccurredAt = ""
			if diff := cmp.Diff(want, got); diff != "" || f.id != cursor {
				t.Errorf("%s: got id %s, want %s (-want +got):\n%s", event, f.id, cursor, diff)
			}
		}
		hears(as, "channel.joined", shape("alice"), ops.Cursor)
		hears(bs, "channel.joined", shape("bob"), ops.Cursor)
		joined := carol.join(t, ops.Channel.ID)
		hears(as, "member.joined", shape("carol"), joined.Cursor)
		hears(bs, "member.joined", shape("carol"), joined.Cursor)
		hears(cs, "channel.joined", shape("carol"), joined.Cursor)
		left := bob.leave(t, ops.Channel.ID)
		hears(as, "member.left", shape("bob"), left.Cursor)
		hears(bs, "channel.left", shape("bob"), left.Cursor)
		hears(cs, "member.left", shape("bob"), left.Cursor)
		renamed := call[created](t, alice, 200, "PATCH", "/api/channels/"+ops.Channel.ID, body{"name": "operations"})
		want := shape("alice")
		want.Name = "operations"
		hears(as, "channel.updated", want, renamed.Cursor)
		hears(cs, "channel.updated", want, renamed.Cursor)
		archived := call[created](t, alice, 200, "DELETE", "/api/channels/"+ops.Channel.ID, nil)
		hears(as, "channel.archived", want, archived.Cursor)
		hears(cs, "channel.archived", want, archived.Cursor)
	})
}

func TestWhoHearsAMessageAndWhy(t *testing.T) {
	t.Parallel()
	overTransports(t, func(t *testing.T, n *node, over transport) {
		alice, bob, carol := n.user("alice"), n.user("bob"), n.user("carol")
		channels := map[string]string{}
		for _, xType := range []string{"general", "report"} {
			c := alice.create(t, newChannel{GuildID: "g1", Name: xType, XType: xType, Members: []string{"bob", "carol"}})
			channels[xType] = c.Channel.ID
		}
		channels["dm"] = alice.create(t, newChannel{GuildID: "g1", XType: "dm", Members: []string{"bob"}}).Channel.ID

		streams := map[string]*stream{}
		streams["alice"], _ = alice.fresh(t, over, "")
		streams["bob"], _ = bob.fresh(t, over, "")
		streams["carol"], _ = carol.fresh(t, over, "")
		streams["alice echoed"], _ = alice.fresh(t, over, "?echo=true")

		for _, tt := range []struct {
			xType, content string
			want           map[string]string // wakeReason by stream; absent: not heard
		}{
			{"general", "all", map[string]string{"bob": "everyone", "carol": "everyone", "alice echoed": "author"}},
			{"general", "hi <@bob>", map[string]string{"bob": "mention", "carol": "not_addressed", "alice echoed": "author"}},
			{"general", "hi <@user.id:carol>", map[string]string{"bob": "not_addressed", "carol": "mention", "alice echoed": "author"}},
			{"general", "I, <@alice>, and <@nobody>", map[string]string{"bob": "everyone", "carol": "everyone", "alice echoed": "author"}},
			{"report", "for <@bob>", map[string]string{"bob": "silent", "carol": "silent", "alice echoed": "author"}},
			{"dm", "you", map[string]string{"bob": "direct", "alice echoed": "author"}},
		} {
			p := alice.post(t, channels[tt.xType], tt.content)
			for name, s := range streams {
				reason, hears := tt.want[name]
				if !hears {
					continue // the next frame that is expected there is another
				}
				f := s.next(t)
				want := heard{p.Message, reason == "everyone" || reason == "mention" || reason == "direct", reason}
				if diff := cmp.Diff(want, data[heard](t, f, "message.created")); diff != "" || f.id != p.Cursor {
					t.Errorf("%s %q on %s's stream: got id %s, want %s (-want +got):\n%s", tt.xType, tt.content, name, f.id, p.Cursor, diff)
				}
			}
		}
		// What one's own stream has left out it has left out for good.
		end := bob.post(t, channels["general"], "end")
		if got := contents(t, streams["alice"].until(t, end.Cursor)); !cmp.Equal(got, []string{"end"}) {
			t.Errorf("the author's stream: got %q, want only the other's message", got)
		}
	})
}

func TestFilters(t *testing.T) {
	t.Parallel()
	overTransports(t, func(t *testing.T, n *node, over transport) {
		alice, bob := n.user("alice"), n.user("bob")
		one, two := bob.general(t, "one", "alice"), bob.general(t, "two", "alice")
		queries := []string{
			"", "?wakeup=true", "?types=message.created", "?types=channel.joined,member.joined", "?channels=" + one.Channel.ID,
			"?channels=" + one.Channel.ID + "," + two.Channel.ID, "?wakeup=true&channels=" + one.Channel.ID, "?echo=true&types=message.created",
			"?wakeup=false&echo=false&snapshot=false&heartbeat=true&types=&channels=&_=17",
		}
		streams := make([]*stream, len(queries))
		for i, q := range queries {
			streams[i], _ = alice.fresh(t, over, q)
		}
		bob.post(t, one.Channel.ID, "1")
		bob.post(t, two.Channel.ID, "2")
		bob.post(t, one.Channel.ID, "1, <@bob>") // mentions the author only: everyone
		n.user("carol").join(t, one.Channel.ID)
		n.user("carol").join(t, two.Channel.ID)
		bob.post(t, two.Channel.ID, "2, for <@carol>")
		alice.post(t, one.Channel.ID, "mine")
		bob.general(t, "three", "alice")
		end := bob.general(t, "end", "alice")
		bob.post(t, end.Channel.ID, "not of interest")

		all := []string{"message", "message", "message", "member.joined", "member.joined", "message", "channel.joined", "channel.joined"}
		for i, want := range [][]string{
			all,
			{"message", "message", "message", "member.joined", "member.joined", "channel.joined", "channel.joined"},
			nil, // has no end of its own, see below
			{"member.joined", "member.joined", "channel.joined", "channel.joined"},
			{"message", "message", "member.joined", "channel.joined", "channel.joined"},
			all,
			{"message", "message", "member.joined", "channel.joined", "channel.joined"},
			nil,
			all,
		} {
			if want == nil {
				continue
			}
			got := kinds(streams[i].until(t, end.Cursor))
			for i := range got {
				got[i] = strings.TrimSuffix(got[i], ".created")
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%q (-want +got):\n%s", queries[i], diff)
			}
		}
		for i, want := range map[int][]string{
			2: {"1", "2", "1, <@bob>", "2, for <@carol>", "not of interest"},
			7: {"1", "2", "1, <@bob>", "2, for <@carol>", "mine", "not of interest"},
		} {
			var got []frame
			for range want {
				got = append(got, streams[i].next(t))
			}
			if diff := cmp.Diff(want, contents(t, got)); diff != "" {
				t.Errorf("%q (-want +got):\n%s", queries[i], diff)
			}
		}
	})
}

func TestALongSnapshotGoesOnInFurtherFramesAndTheLastHasTheID(t *testing.T) {
	t.Parallel()
	overTransports(t, func(t *testing.T, n *node, over transport) {
		alice := n.user("alice")
		var last created
		var want []channel
		for i := range 401 {
			last = alice.general(t, fmt.Sprint("room ", i))
			want = append(want, last.Channel)
		}
		s := alice.open(t, over, "")
		f := s.next(t)
		ready := data[readyData](t, f, "stream.ready")
		got := *ready.Channels
		if len(got) != 200 || f.id != "" {
			t.Errorf("the first frame: got %d channels and id %q, want 200 and none", len(got), f.id)
		}
		for len(got) < len(want) {
			f = s.next(t)
			got = append(got, data[struct {
				Channels []channel `json:"channels"`
			}](t, f, "stream.channels").Channels...)
			if id := map[bool]string{true: last.Cursor}[len(got) == len(want)]; f.id != id {
				t.Errorf("after %d channels: got id %q, want %q", len(got), f.id, id)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" || ready.Cursor != last.Cursor {
			t.Errorf("got cursor %s, want %s; channels (-want +got):\n%s", ready.Cursor, last.Cursor, diff)
		}
	})
}

func TestTheSeventeenthStreamOfAUserIsRefused(t *testing.T) {
	t.Parallel()
	overTransports(t, func(t *testing.T, n *node, over transport) {
		alice, bob := n.user("alice"), n.user("bob")
		var streams []*stream
		for range 16 {
			s, _ := alice.fresh(t, over, "")
			streams = append(streams, s)
		}
		s, err := alice.ask(over, "")
		if err != nil {
			t.Fatal(err)
		}
		defer s.close()
		wantProblem(t, s.answer(t), 429, "too_many_streams")
		if s.resp.Header.Get("Retry-After") == "" {
			t.Error("got no Retry-After, want one")
		}
		bob.fresh(t, over, "") // others are not concerned
		ops := bob.general(t, "ops", "alice")
		for i, s := range streams { // nor are those that are open: all carry the same
			if f := s.next(t); f.id != ops.Cursor {
				t.Errorf("stream %d: got %s, want channel.joined at %s", i, f.raw, ops.Cursor)
			}
		}
		streams[0].close()
		if !eventually(func() bool {
			s, err := alice.connect(over, "")
			if err == nil {
				t.Cleanup(s.close)
			}
			return err == nil
		}) {
			t.Error("there is no room again after one was closed")
		}
	})
}

func TestATokenForGuildsShowsNoOthers(t *testing.T) {
	t.Parallel()
	overTransports(t, func(t *testing.T, n *node, over transport) {
		bob := n.user("bob")
		members := []string{"alice"}
		in := bob.create(t, newChannel{GuildID: "g1", Name: "in", XType: "general", Members: members})
		out := bob.create(t, newChannel{GuildID: "g2", Name: "out", XType: "general", Members: members})
		alice := n.user("alice", "g1", "g3")
		s, ready := alice.fresh(t, over, "")
		if diff := cmp.Diff([]channel{in.Channel}, *ready.Channels); diff != "" {
			t.Errorf("the snapshot (-want +got):\n%s", diff)
		}
		bob.post(t, out.Channel.ID, "out")
		bob.create(t, newChannel{GuildID: "g2", Name: "out too", XType: "general", Members: members})
		third := bob.create(t, newChannel{GuildID: "g3", Name: "third", XType: "general", Members: members})
		end := bob.post(t, in.Channel.ID, "in")
		for _, s := range []*stream{s, alice.resume(t, over, "", in.Cursor)} {
			got := s.until(t, end.Cursor)
			if diff := cmp.Diff([]string{"channel.joined", "message.created"}, kinds(got)); diff != "" || got[0].id != third.Cursor {
				t.Errorf("got %s first, want %s (-want +got):\n%s", got[0].id, third.Cursor, diff)
			}
		}
	})
}

// The same stream, written by each transport, is the same byte for byte.
func TestTransportsWriteTheSameBytes(t *testing.T) {
	t.Parallel()
	first := start(t, setup{})
	second := start(t, setup{database: first.database, state: first.state, r3labs: true})
	alice, bob := first.user("alice"), first.user("bob")
	before := bob.general(t, "before")
	ops := bob.general(t, "ops", "alice")
	for _, content := range []string{"<@alice> & \"all\" \\ \u2028 𝄞", ": a comment?\nid: 7\ndata: x\r\n\r\n", strings.Repeat("long ", 3000)} {
		bob.post(t, ops.Channel.ID, content)
	}
	alice.leave(t, ops.Channel.ID)
	alice.join(t, ops.Channel.ID)
	end := bob.post(t, ops.Channel.ID, "end")
	read := func(n *node, over transport) (all string) {
		s := alice.at(n).open(t, over, "?snapshot=true", "Last-Event-ID", before.Cursor)
		for {
			f := s.next(t)
			if all += f.raw; f.event == "stream.live" {
				return all
			}
		}
	}
	want := read(first, raw)
	if !strings.Contains(want, "id: "+end.Cursor+"\n") {
		t.Fatalf("got %s, want all of the backlog", want)
	}
	for name, got := range map[string]string{"r3labs": read(second, raw), "h2c": read(first, transports[1]), "h2c at the other node": read(second, transports[1])} {
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-raw +%s):\n%s", name, name, diff)
		}
	}
}

// It takes as long as a heartbeat does.
func TestHeartbeatsAsEventsOnTheWire(t *testing.T) {
	long(t)
	t.Parallel()
	overTransports(t, func(t *testing.T, n *node, over transport) {
		s, ready := n.user("alice").fresh(t, over, "?heartbeat=true")
		f := s.next(t)
		if want := `{"cursor":"` + ready.Cursor + `"}`; f.event != "stream.heartbeat" || f.data != want || f.id != "" {
			t.Errorf("got %q, want stream.heartbeat with %s and no id", f.raw, want)
		}
	})
}
