package streamtest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/db/dbtest"
	"fabric-guild/events/ssetest"
	"fabric-guild/handlers/e2e/nodetest"
)

func TestAFreshStreamBeginsWithItsHeadAndASnapshot(t *testing.T) {
	t.Parallel()
	nodetest.OverTransports(t, func(t *testing.T, n *nodetest.Node, over nodetest.Transport) {
		alice := n.User("alice")
		ops := alice.General(t, "ops", "bob")
		n.User("bob").General(t, "without alice")
		report := n.User("bob").Create(t, nodetest.NewChannel{
			GuildID: "g2", Name: "news", XType: "report",
			Members: []string{"alice"}, History: "all",
		})
		s, ready := alice.Fresh(t, over, "")
		for name, want := range map[string]string{
			"Content-Type": "text/event-stream", "Cache-Control": "no-cache, no-transform",
			"X-Accel-Buffering": "no",
		} {
			if got := s.Resp.Header.Values(name); len(got) != 1 || got[0] != want {
				t.Errorf("%s: got %q, want %q once", name, got, want)
			}
		}
		if s.Resp.Header.Get("X-Request-Id") == "" {
			t.Error("got no X-Request-Id, want one")
		}
		if got, want := s.Resp.ProtoMajor, map[bool]int{true: 2, false: 1}[over.H2c || over.H2]; got != want {
			t.Errorf("got HTTP/%d, want HTTP/%d", got, want)
		}
		want := nodetest.ReadyData{
			Cursor: report.Cursor, UserID: "alice",
			Channels: &[]nodetest.Channel{ops.Channel, report.Channel},
		}
		if diff := cmp.Diff(want, ready); diff != "" {
			t.Errorf("stream.ready (-want +got):\n%s", diff)
		}
	})
}

func TestAUserOfNoChannelsGetsAnEmptySnapshot(t *testing.T) {
	t.Parallel()
	nodetest.OverTransports(t, func(t *testing.T, n *nodetest.Node, over nodetest.Transport) {
		s := n.User("alice").Open(t, over, "")
		f := s.Next(t)
		ready := nodetest.Data[nodetest.ReadyData](t, f, "stream.ready")
		if ready.Channels == nil || len(*ready.Channels) != 0 || f.ID != ready.Cursor ||
			!strings.Contains(f.Data, `"channels":[]`) {
			t.Errorf("got %s, want an empty list of channels and the cursor as id", f.Raw)
		}
	})
}

func TestMembersHearMemberships(t *testing.T) {
	t.Parallel()
	nodetest.OverTransports(t, func(t *testing.T, n *nodetest.Node, over nodetest.Transport) {
		alice, bob, carol := n.User("alice"), n.User("bob"), n.User("carol")
		as, _ := alice.Fresh(t, over, "")
		bs, _ := bob.Fresh(t, over, "")
		cs, _ := carol.Fresh(t, over, "")

		ops := alice.General(t, "ops", "bob")
		shape := func(user string) nodetest.Membership {
			return nodetest.Membership{
				ChannelID: ops.Channel.ID, UserID: user, XType: "general",
				GuildID: "g1", Name: "ops",
			}
		}
		hears := func(s *nodetest.Stream, event string, want nodetest.Membership, cursor string) {
			t.Helper()
			f := s.Next(t)
			got := nodetest.Data[nodetest.Membership](t, f, event)
			if !nodetest.IsTime(got.OccurredAt) {
				t.Errorf("got occurredAt %q, want RFC 3339 in UTC with milliseconds", got.OccurredAt)
			}
			got.OccurredAt = ""
			if diff := cmp.Diff(want, got); diff != "" || f.ID != cursor {
				t.Errorf("%s: got id %s, want %s (-want +got):\n%s", event, f.ID, cursor, diff)
			}
		}
		hears(as, "channel.joined", shape("alice"), ops.Cursor)
		hears(bs, "channel.joined", shape("bob"), ops.Cursor)
		joined := carol.Join(t, ops.Channel.ID)
		hears(as, "member.joined", shape("carol"), joined.Cursor)
		hears(bs, "member.joined", shape("carol"), joined.Cursor)
		hears(cs, "channel.joined", shape("carol"), joined.Cursor)
		left := bob.Leave(t, ops.Channel.ID)
		hears(as, "member.left", shape("bob"), left.Cursor)
		hears(bs, "channel.left", shape("bob"), left.Cursor)
		hears(cs, "member.left", shape("bob"), left.Cursor)
		renamed := nodetest.Call[nodetest.Created](t, alice, 200, "PATCH", "/api/channels/"+ops.Channel.ID,
			nodetest.Body{"name": "operations"})
		want := shape("alice")
		want.Name = "operations"
		hears(as, "channel.updated", want, renamed.Cursor)
		hears(cs, "channel.updated", want, renamed.Cursor)
		archived := nodetest.Call[nodetest.Created](t, alice, 200, "DELETE",
			"/api/channels/"+ops.Channel.ID, nil)
		hears(as, "channel.archived", want, archived.Cursor)
		hears(cs, "channel.archived", want, archived.Cursor)
	})
}

func TestWhoHearsAMessageAndWhy(t *testing.T) {
	t.Parallel()
	nodetest.OverTransports(t, func(t *testing.T, n *nodetest.Node, over nodetest.Transport) {
		alice, bob, carol := n.User("alice"), n.User("bob"), n.User("carol")
		channels := map[string]string{}
		for _, xType := range []string{"general", "report"} {
			c := alice.Create(t, nodetest.NewChannel{
				GuildID: "g1", Name: xType, XType: xType,
				Members: []string{"bob", "carol"},
			})
			channels[xType] = c.Channel.ID
		}
		channels["dm"] = alice.Create(t,
			nodetest.NewChannel{GuildID: "g1", XType: "dm", Members: []string{"bob"}}).Channel.ID

		streams := map[string]*nodetest.Stream{}
		streams["alice"], _ = alice.Fresh(t, over, "")
		streams["bob"], _ = bob.Fresh(t, over, "")
		streams["carol"], _ = carol.Fresh(t, over, "")
		streams["alice echoed"], _ = alice.Fresh(t, over, "?echo=true")

		for _, tt := range []struct {
			xType, content string
			want           map[string]string // wakeReason by stream; absent: not heard
		}{
			{"general", "all", map[string]string{
				"bob": "everyone", "carol": "everyone",
				"alice echoed": "author",
			}},
			{
				"general", "hi <@bob>",
				map[string]string{"bob": "mention", "carol": "not_addressed", "alice echoed": "author"},
			},
			{
				"general", "hi <@user.id:carol>",
				map[string]string{"bob": "not_addressed", "carol": "mention", "alice echoed": "author"},
			},
			{
				"general", "I, <@alice>, and <@nobody>",
				map[string]string{"bob": "everyone", "carol": "everyone", "alice echoed": "author"},
			},
			{
				"report", "for <@bob>",
				map[string]string{"bob": "silent", "carol": "silent", "alice echoed": "author"},
			},
			{"dm", "you", map[string]string{"bob": "direct", "alice echoed": "author"}},
		} {
			p := alice.Post(t, channels[tt.xType], tt.content)
			for name, s := range streams {
				reason, hears := tt.want[name]
				if !hears {
					continue // the next frame that is expected there is another
				}
				f := s.Next(t)
				want := nodetest.Heard{Message: p.Message, Wakeup: reason == "everyone" ||
					reason == "mention" || reason == "direct", WakeReason: reason}
				if diff := cmp.Diff(want,
					nodetest.Data[nodetest.Heard](t, f, "message.created")); diff != "" || f.ID != p.Cursor {
					t.Errorf("%s %q on %s's stream: got id %s, want %s (-want +got):\n%s", tt.xType,
						tt.content, name, f.ID, p.Cursor, diff)
				}
			}
		}
		// What the user's own stream has left out, it does not show later.
		end := bob.Post(t, channels["general"], "end")
		if got := nodetest.Contents(t, streams["alice"].Until(t, end.Cursor)); !cmp.Equal(got,
			[]string{"end"}) {
			t.Errorf("the author's stream: got %q, want only the other's message", got)
		}
	})
}

func TestFilters(t *testing.T) {
	t.Parallel()
	nodetest.OverTransports(t, func(t *testing.T, n *nodetest.Node, over nodetest.Transport) {
		alice, bob := n.User("alice"), n.User("bob")
		one, two := bob.General(t, "one", "alice"), bob.General(t, "two", "alice")
		queries := []string{
			"", "?wakeup=true", "?types=message.created", "?types=channel.joined,member.joined",
			"?channels=" + one.Channel.ID,
			"?channels=" + one.Channel.ID + "," + two.Channel.ID, "?wakeup=true&channels=" + one.Channel.ID,
			"?echo=true&types=message.created",
			"?wakeup=false&echo=false&snapshot=false&heartbeat=true&lastEventId=&_=17",
		}
		streams := make([]*nodetest.Stream, len(queries))
		for i, q := range queries {
			streams[i], _ = alice.Fresh(t, over, q)
		}
		bob.Post(t, one.Channel.ID, "1")
		bob.Post(t, two.Channel.ID, "2")
		bob.Post(t, one.Channel.ID, "1, <@bob>") // mentions the author only: everyone
		n.User("carol").Join(t, one.Channel.ID)
		n.User("carol").Join(t, two.Channel.ID)
		bob.Post(t, two.Channel.ID, "2, for <@carol>")
		alice.Post(t, one.Channel.ID, "mine")
		bob.General(t, "three", "alice")
		end := bob.General(t, "end", "alice")
		bob.Post(t, end.Channel.ID, "not of interest")

		all := []string{
			"message", "message", "message", "member.joined", "member.joined", "message",
			"channel.joined", "channel.joined",
		}
		for i, want := range [][]string{
			all,
			{
				"message", "message", "message", "member.joined", "member.joined", "channel.joined",
				"channel.joined",
			},
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
			got := nodetest.Kinds(streams[i].Until(t, end.Cursor))
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
			var got []ssetest.Frame
			for range want {
				got = append(got, streams[i].Next(t))
			}
			if diff := cmp.Diff(want, nodetest.Contents(t, got)); diff != "" {
				t.Errorf("%q (-want +got):\n%s", queries[i], diff)
			}
		}
	})
}

func TestALongSnapshotGoesOnInFurtherFramesAndTheLastHasTheID(t *testing.T) {
	dbtest.Long(t) // TestSnapshotPlusStreamEqualsTheTruth is fast
	t.Parallel()
	nodetest.OverTransports(t, func(t *testing.T, n *nodetest.Node, over nodetest.Transport) {
		alice := n.User("alice")
		var last nodetest.Created
		var want []nodetest.Channel
		for i := range 401 {
			last = alice.General(t, fmt.Sprint("room ", i))
			want = append(want, last.Channel)
		}
		s := alice.Open(t, over, "")
		f := s.Next(t)
		ready := nodetest.Data[nodetest.ReadyData](t, f, "stream.ready")
		got := *ready.Channels
		if len(got) != 200 || f.ID != "" {
			t.Errorf("the first frame: got %d channels and id %q, want 200 and none", len(got), f.ID)
		}
		for len(got) < len(want) {
			f = s.Next(t)
			got = append(got, nodetest.Data[struct {
				Channels []nodetest.Channel `json:"channels"`
			}](t, f, "stream.channels").Channels...)
			if id := map[bool]string{true: last.Cursor}[len(got) == len(want)]; f.ID != id {
				t.Errorf("after %d channels: got id %q, want %q", len(got), f.ID, id)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" || ready.Cursor != last.Cursor {
			t.Errorf("got cursor %s, want %s; channels (-want +got):\n%s", ready.Cursor, last.Cursor, diff)
		}
	})
}

func TestTheSeventeenthStreamOfAUserIsRefused(t *testing.T) {
	t.Parallel()
	nodetest.OverTransports(t, func(t *testing.T, n *nodetest.Node, over nodetest.Transport) {
		alice, bob := n.User("alice"), n.User("bob")
		var streams []*nodetest.Stream
		for range 16 {
			s, _ := alice.Fresh(t, over, "")
			streams = append(streams, s)
		}
		s, err := alice.Ask(over, "")
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		nodetest.WantProblem(t, s.Answer(t), 429, "too_many_streams")
		if s.Resp.Header.Get("Retry-After") == "" {
			t.Error("got no Retry-After, want one")
		}
		bob.Fresh(t, over, "") // others are not concerned
		ops := bob.General(t, "ops", "alice")
		for i, s := range streams { // nor are those that are open: all carry the same
			if f := s.Next(t); f.ID != ops.Cursor {
				t.Errorf("stream %d: got %s, want channel.joined at %s", i, f.Raw, ops.Cursor)
			}
		}
		streams[0].Close()
		if !ssetest.Await(func() bool {
			s, err := alice.Connect(over, "")
			if err == nil {
				t.Cleanup(s.Close)
			}
			return err == nil
		}) {
			t.Error("there is no room again after one was closed")
		}
	})
}

func TestATokenForGuildsShowsNoOthers(t *testing.T) {
	t.Parallel()
	nodetest.OverTransports(t, func(t *testing.T, n *nodetest.Node, over nodetest.Transport) {
		bob := n.User("bob")
		members := []string{"alice"}
		in := bob.Create(t, nodetest.NewChannel{
			GuildID: "g1", Name: "in", XType: "general",
			Members: members,
		})
		out := bob.Create(t, nodetest.NewChannel{
			GuildID: "g2", Name: "out", XType: "general",
			Members: members,
		})
		alice := n.User("alice", "g1", "g3")
		s, ready := alice.Fresh(t, over, "")
		if diff := cmp.Diff([]nodetest.Channel{in.Channel}, *ready.Channels); diff != "" {
			t.Errorf("the snapshot (-want +got):\n%s", diff)
		}
		bob.Post(t, out.Channel.ID, "out")
		bob.Create(t, nodetest.NewChannel{GuildID: "g2", Name: "out too", XType: "general", Members: members})
		third := bob.Create(t, nodetest.NewChannel{
			GuildID: "g3", Name: "third", XType: "general",
			Members: members,
		})
		end := bob.Post(t, in.Channel.ID, "in")
		for _, s := range []*nodetest.Stream{s, alice.Resume(t, over, "", in.Cursor)} {
			got := s.Until(t, end.Cursor)
			if diff := cmp.Diff([]string{"channel.joined", "message.created"},
				nodetest.Kinds(got)); diff != "" || got[0].ID != third.Cursor {
				t.Errorf("got %s first, want %s (-want +got):\n%s", got[0].ID, third.Cursor, diff)
			}
		}
	})
}

// The same stream, written by each transport, is the same byte for byte.
func TestTransportsWriteTheSameBytes(t *testing.T) {
	t.Parallel()
	first := nodetest.Start(t, nodetest.Setup{})
	second := nodetest.Start(t, nodetest.Setup{Database: first.Database, State: first.State, R3labs: true})
	alice, bob := first.User("alice"), first.User("bob")
	before := bob.General(t, "before")
	ops := bob.General(t, "ops", "alice")
	for _, content := range []string{
		"<@alice> & \"all\" \\ \u2028 𝄞", ": a comment?\nid: 7\ndata: x\r\n\r\n",
		strings.Repeat("long ", 3000),
	} {
		bob.Post(t, ops.Channel.ID, content)
	}
	alice.Leave(t, ops.Channel.ID)
	alice.Join(t, ops.Channel.ID)
	end := bob.Post(t, ops.Channel.ID, "end")
	read := func(n *nodetest.Node, over nodetest.Transport) (all string) {
		s := alice.At(n).Open(t, over, "?snapshot=true", "Last-Event-ID", before.Cursor)
		for {
			f := s.Next(t)
			if all += f.Raw; f.Event == "stream.live" {
				return all
			}
		}
	}
	want := read(first, nodetest.Raw)
	if !strings.Contains(want, "id: "+end.Cursor+"\n") {
		t.Fatalf("got %s, want all of the backlog", want)
	}
	for name, got := range map[string]string{
		"r3labs":                read(second, nodetest.Raw),
		"h2c":                   read(first, nodetest.Transports[1]),
		"h2c at the other node": read(second, nodetest.Transports[1]),
	} {
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-raw +%s):\n%s", name, name, diff)
		}
	}
}

// It takes as long as a heartbeat does.
func TestHeartbeatsAsEventsOnTheWire(t *testing.T) {
	dbtest.Long(t)
	t.Parallel()
	nodetest.OverTransports(t, func(t *testing.T, n *nodetest.Node, over nodetest.Transport) {
		s, ready := n.User("alice").Fresh(t, over, "?heartbeat=true")
		f := s.Next(t)
		if want := `{"cursor":"` + ready.Cursor + `"}`; f.Event != "stream.heartbeat" || f.Data != want ||
			f.ID != "" {
			t.Errorf("got %q, want stream.heartbeat with %s and no id", f.Raw, want)
		}
	})
}
