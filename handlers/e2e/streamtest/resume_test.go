package streamtest_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/events/ssetest"
	"fabric-guild/handlers/e2e/nodetest"
)

func TestAResumedStreamShowsTheBacklogThenIsLive(t *testing.T) {
	t.Parallel()
	nodetest.OverTransports(t, func(t *testing.T, n *nodetest.Node, over nodetest.Transport) {
		alice, bob := n.User("alice"), n.User("bob")
		ops := bob.General(t, "ops", "alice")
		seen := bob.Post(t, ops.Channel.ID, "seen")
		var last nodetest.Posted
		want := []string{"message.created", "member.joined", "channel.joined", "message.created"}
		bob.Post(t, ops.Channel.ID, "missed")
		n.User("carol").Join(t, ops.Channel.ID)
		bob.General(t, "dev", "alice")
		last = bob.Post(t, ops.Channel.ID, "missed too")

		s := alice.Open(t, over, "", "Last-Event-ID", seen.Cursor)
		f := s.Next(t)
		ready := nodetest.Data[nodetest.ReadyData](t, f, "stream.ready")
		if diff := cmp.Diff(nodetest.ReadyData{Cursor: seen.Cursor, UserID: "alice", Resumed: true},
			ready); diff != "" || f.ID != seen.Cursor {
			t.Errorf("got id %s, want %s (-want +got):\n%s", f.ID, seen.Cursor, diff)
		}
		var got []ssetest.Frame
		for range want {
			got = append(got, s.Next(t))
		}
		if diff := cmp.Diff(want, nodetest.Kinds(got)); diff != "" || got[3].ID != last.Cursor {
			t.Errorf("the backlog: got %s last, want %s (-want +got):\n%s", got[3].ID, last.Cursor, diff)
		}
		f = s.Next(t)
		live := nodetest.Data[struct {
			Cursor string `json:"cursor"`
		}](t, f, "stream.live")
		if f.ID != live.Cursor || nodetest.Seq(live.Cursor) < nodetest.Seq(last.Cursor) {
			t.Errorf("got %s, want a cursor as id that is no less than %s", f.Raw, last.Cursor)
		}
		now := bob.Post(t, ops.Channel.ID, "now")
		if f := s.Next(t); f.ID != now.Cursor {
			t.Errorf("got %s, want %s", f.Raw, now.Cursor)
		}
	})
}

func TestWhereAStreamResumes(t *testing.T) {
	t.Parallel()
	nodetest.OverTransports(t, func(t *testing.T, n *nodetest.Node, over nodetest.Transport) {
		alice := n.User("alice")
		a, b := alice.General(t, "a"), alice.General(t, "b")
		for _, tt := range []struct {
			name, query string
			headers     []string
			want        string // empty: fresh
		}{
			{"nothing", "", nil, ""},
			{"header", "", []string{"Last-Event-ID", a.Cursor}, a.Cursor},
			{"parameter", "?lastEventId=" + a.Cursor, nil, a.Cursor},
			{"both", "?lastEventId=" + a.Cursor, []string{"Last-Event-ID", b.Cursor}, b.Cursor},
			{"an empty header", "", []string{"Last-Event-ID", ""}, ""},
			{
				"an empty header with a parameter", "?lastEventId=" + a.Cursor,
				[]string{"Last-Event-ID", ""},
				a.Cursor,
			},
			{"an empty parameter", "?lastEventId=", nil, ""},
		} {
			s := alice.Open(t, over, tt.query, tt.headers...)
			ready := nodetest.Data[nodetest.ReadyData](t, s.Next(t), "stream.ready")
			want := nodetest.ReadyData{Cursor: tt.want, UserID: "alice", Resumed: true}
			if tt.want == "" {
				want = nodetest.ReadyData{
					Cursor: b.Cursor, UserID: "alice",
					Channels: &[]nodetest.Channel{a.Channel, b.Channel},
				}
			}
			if diff := cmp.Diff(want, ready); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.name, diff)
			}
		}
	})
}

func TestAResumedStreamMayAskForASnapshotAsOfItsCursor(t *testing.T) {
	t.Parallel()
	nodetest.OverTransports(t, func(t *testing.T, n *nodetest.Node, over nodetest.Transport) {
		alice := n.User("alice")
		a, b := alice.General(t, "a"), alice.General(t, "b")
		alice.Leave(t, a.Channel.ID)
		c := alice.General(t, "c")
		s := alice.Open(t, over, "?snapshot=true", "Last-Event-ID", b.Cursor)
		ready := nodetest.Data[nodetest.ReadyData](t, s.Next(t), "stream.ready")
		want := nodetest.ReadyData{
			Cursor: b.Cursor, UserID: "alice", Resumed: true,
			Channels: &[]nodetest.Channel{a.Channel, b.Channel},
		}
		if diff := cmp.Diff(want, ready); diff != "" {
			t.Errorf("stream.ready (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"channel.left", "channel.joined"},
			nodetest.Kinds(s.Until(t, c.Cursor))); diff != "" {
			t.Errorf("the backlog (-want +got):\n%s", diff)
		}
	})
}

func TestACursorThatCannotBeHonouredIsAnsweredWithAReset(t *testing.T) {
	t.Parallel()
	nodetest.OverTransports(t, func(t *testing.T, n *nodetest.Node, over nodetest.Transport) {
		alice := n.User("alice")
		ops := alice.General(t, "ops")
		last := alice.Post(t, ops.Channel.ID, "hi")
		epoch := last.Cursor[:len(last.Cursor)-len(fmt.Sprint(".", nodetest.Seq(last.Cursor)))]
		// its ring is empty
		again := nodetest.Start(t, nodetest.Setup{Database: n.Database, State: n.State, R3labs: n.R3labs})
		raise := func() {
			t.Helper()
			for _, node := range []*nodetest.Node{n, again} {
				node.Settle(t) // one that retention overtakes forgets what it has in memory
			}
			n.Exec(t, `UPDATE log_floor SET seq = $1`, nodetest.Seq(last.Cursor))
		}
		raise()
		for _, tt := range []struct{ cursor, reason string }{
			{fmt.Sprint("1.", nodetest.Seq(ops.Cursor)), "unknown_epoch"},
			{"9223372036854775807.1", "unknown_epoch"},
			{fmt.Sprint(epoch, ".", nodetest.Seq(last.Cursor)+1000), "beyond_end"},
			{epoch + ".9223372036854775807", "beyond_end"},
			{ops.Cursor, "expired"},
		} {
			s := alice.At(again).Open(t, over, "", "Last-Event-ID", tt.cursor)
			f := s.Next(t)
			want := nodetest.ReadyData{
				Cursor: last.Cursor, UserID: "alice", Reason: tt.reason,
				Channels: &[]nodetest.Channel{ops.Channel},
			}
			if diff := cmp.Diff(want, nodetest.Data[nodetest.ReadyData](t, f, "stream.reset")); diff != "" ||
				f.ID != last.Cursor {
				t.Errorf("%s: got id %s, want %s (-want +got):\n%s", tt.cursor, f.ID, last.Cursor, diff)
			}
			now := n.User("bob").General(t, "now", "alice")
			if f := s.Next(t); f.ID != now.Cursor {
				t.Errorf("%s: got %s after the reset, want what comes next", tt.cursor, f.Raw)
			}
			last.Cursor = now.Cursor
			alice.Leave(t, now.Channel.ID)
			last.Cursor = n.User("alice").Sync(t).Cursor
			raise()
		}
		alice.At(n).Resume(t, over, "", ops.Cursor) // a node that still has it in memory goes on
	})
}

func TestAMalformedCursorIsRefused(t *testing.T) {
	t.Parallel()
	nodetest.OverTransports(t, func(t *testing.T, n *nodetest.Node, over nodetest.Transport) {
		alice := n.User("alice")
		good := alice.General(t, "ops").Cursor
		for _, cursor := range []string{
			"x", "1", ".", "1.", ".1", "0.1", "-1.1", "1.-1", "+1.1", "01.1", "1.01", "1.1.1", "1. 1",
			good + "0x", good + ",", "1e3.1",
			"9223372036854775808.1", "1.9223372036854775808", "١.١",
		} {
			for name, s := range map[string]func() (*nodetest.Stream, error){
				"header": func() (*nodetest.Stream, error) {
					return alice.Ask(over, "", "Last-Event-ID", cursor)
				},
				"parameter": func() (*nodetest.Stream, error) {
					return alice.Ask(over, "?lastEventId="+nodetest.Escape(cursor))
				},
			} {
				s, err := s()
				if err != nil {
					t.Fatal(err)
				}
				t.Run(name+" "+cursor, func(t *testing.T) {
					nodetest.WantProblem(t, s.Answer(t), 400, "cursor_malformed")
				})
				s.Close()
			}
		}
	})
}
