package handlers_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
)

// exec runs a statement on the node's database, apart from the node.
func (n *node) exec(t *testing.T, statement string, args ...any) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), n.database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if _, err := conn.Exec(t.Context(), statement, args...); err != nil {
		t.Fatal(err)
	}
}

// count is the answer to a query for one number.
func (n *node) count(t *testing.T, query string, args ...any) (got int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), n.database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if err := conn.QueryRow(t.Context(), query, args...).Scan(&got); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestAResumedStreamShowsTheBacklogThenIsLive(t *testing.T) {
	t.Parallel()
	overTransports(t, func(t *testing.T, n *node, over transport) {
		alice, bob := n.user("alice"), n.user("bob")
		ops := bob.general(t, "ops", "alice")
		seen := bob.post(t, ops.Channel.ID, "seen")
		var last posted
		want := []string{"message.created", "member.joined", "channel.joined", "message.created"}
		bob.post(t, ops.Channel.ID, "missed")
		n.user("carol").join(t, ops.Channel.ID)
		bob.general(t, "dev", "alice")
		last = bob.post(t, ops.Channel.ID, "missed too")

		s := alice.open(t, over, "", "Last-Event-ID", seen.Cursor)
		f := s.next(t)
		ready := data[readyData](t, f, "stream.ready")
		if diff := cmp.Diff(readyData{Cursor: seen.Cursor, UserID: "alice", Resumed: true}, ready); diff != "" || f.id != seen.Cursor {
			t.Errorf("got id %s, want %s (-want +got):\n%s", f.id, seen.Cursor, diff)
		}
		var got []frame
		for range want {
			got = append(got, s.next(t))
		}
		if diff := cmp.Diff(want, kinds(got)); diff != "" || got[3].id != last.Cursor {
			t.Errorf("the backlog: got %s last, want %s (-want +got):\n%s", got[3].id, last.Cursor, diff)
		}
		f = s.next(t)
		live := data[struct {
			Cursor string `json:"cursor"`
		}](t, f, "stream.live")
		if f.id != live.Cursor || seq(live.Cursor) < seq(last.Cursor) {
			t.Errorf("got %s, want a cursor as id that is no less than %s", f.raw, last.Cursor)
		}
		now := bob.post(t, ops.Channel.ID, "now")
		if f := s.next(t); f.id != now.Cursor {
			t.Errorf("got %s, want %s", f.raw, now.Cursor)
		}
	})
}

func TestWhereAStreamResumes(t *testing.T) {
	t.Parallel()
	overTransports(t, func(t *testing.T, n *node, over transport) {
		alice := n.user("alice")
		a, b := alice.general(t, "a"), alice.general(t, "b")
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
			{"an empty header with a parameter", "?lastEventId=" + a.Cursor, []string{"Last-Event-ID", ""}, a.Cursor},
			{"an empty parameter", "?lastEventId=", nil, ""},
		} {
			s := alice.open(t, over, tt.query, tt.headers...)
			ready := data[readyData](t, s.next(t), "stream.ready")
			want := readyData{Cursor: tt.want, UserID: "alice", Resumed: true}
			if tt.want == "" {
				want = readyData{Cursor: b.Cursor, UserID: "alice", Channels: &[]channel{a.Channel, b.Channel}}
			}
			if diff := cmp.Diff(want, ready); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.name, diff)
			}
		}
	})
}

func TestAResumedStreamMayAskForASnapshotAsOfItsCursor(t *testing.T) {
	t.Parallel()
	overTransports(t, func(t *testing.T, n *node, over transport) {
		alice := n.user("alice")
		a, b := alice.general(t, "a"), alice.general(t, "b")
		alice.leave(t, a.Channel.ID)
		c := alice.general(t, "c")
		s := alice.open(t, over, "?snapshot=true", "Last-Event-ID", b.Cursor)
		ready := data[readyData](t, s.next(t), "stream.ready")
		want := readyData{Cursor: b.Cursor, UserID: "alice", Resumed: true, Channels: &[]channel{a.Channel, b.Channel}}
		if diff := cmp.Diff(want, ready); diff != "" {
			t.Errorf("stream.ready (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"channel.left", "channel.joined"}, kinds(s.until(t, c.Cursor))); diff != "" {
			t.Errorf("the backlog (-want +got):\n%s", diff)
		}
	})
}

func TestACursorThatCannotBeHonouredIsAnsweredWithAReset(t *testing.T) {
	t.Parallel()
	overTransports(t, func(t *testing.T, n *node, over transport) {
		alice := n.user("alice")
		ops := alice.general(t, "ops")
		last := alice.post(t, ops.Channel.ID, "hi")
		epoch := last.Cursor[:len(last.Cursor)-len(fmt.Sprint(".", seq(last.Cursor)))]
		again := start(t, setup{database: n.database, state: n.state, r3labs: n.r3labs}) // its ring is empty
		raise := func() {
			t.Helper()
			for _, node := range []*node{n, again} {
				node.settle(t) // one that retention overtakes forgets what it has in memory
			}
			n.exec(t, `UPDATE log_floor SET seq = $1`, seq(last.Cursor))
		}
		raise()
		for _, tt := range []struct{ cursor, reason string }{
			{fmt.Sprint("1.", seq(ops.Cursor)), "unknown_epoch"},
			{"9223372036854775807.1", "unknown_epoch"},
			{fmt.Sprint(epoch, ".", seq(last.Cursor)+1000), "beyond_end"},
			{epoch + ".9223372036854775807", "beyond_end"},
			{ops.Cursor, "expired"},
		} {
			s := alice.at(again).open(t, over, "", "Last-Event-ID", tt.cursor)
			f := s.next(t)
			want := readyData{Cursor: last.Cursor, UserID: "alice", Reason: tt.reason, Channels: &[]channel{ops.Channel}}
			if diff := cmp.Diff(want, data[readyData](t, f, "stream.reset")); diff != "" || f.id != last.Cursor {
				t.Errorf("%s: got id %s, want %s (-want +got):\n%s", tt.cursor, f.id, last.Cursor, diff)
			}
			now := n.user("bob").general(t, "now", "alice")
			if f := s.next(t); f.id != now.Cursor {
				t.Errorf("%s: got %s after the reset, want what comes next", tt.cursor, f.raw)
			}
			last.Cursor = now.Cursor
			alice.leave(t, now.Channel.ID)
			last.Cursor = n.user("alice").sync(t).Cursor
			raise()
		}
		alice.at(n).resume(t, over, "", ops.Cursor) // a node that still has it in memory goes on
	})
}

func (u *user) sync(t *testing.T) syncData {
	t.Helper()
	return call[syncData](t, u, 200, "GET", "/api/sync", nil)
}

func TestAMalformedCursorIsRefused(t *testing.T) {
	t.Parallel()
	overTransports(t, func(t *testing.T, n *node, over transport) {
		alice := n.user("alice")
		good := alice.general(t, "ops").Cursor
		for _, cursor := range []string{
			"x", "1", ".", "1.", ".1", "0.1", "-1.1", "1.-1", "+1.1", "01.1", "1.01", "1.1.1", "1. 1", good + "0x", good + ",", "1e3.1",
			"9223372036854775808.1", "1.9223372036854775808", "١.١",
		} {
			for name, s := range map[string]func() (*stream, error){
				"header":    func() (*stream, error) { return alice.ask(over, "", "Last-Event-ID", cursor) },
				"parameter": func() (*stream, error) { return alice.ask(over, "?lastEventId="+escape(cursor)) },
			} {
				s, err := s()
				if err != nil {
					t.Fatal(err)
				}
				t.Run(name+" "+cursor, func(t *testing.T) { wantProblem(t, s.answer(t), 400, "cursor_malformed") })
				s.close()
			}
		}
	})
}
