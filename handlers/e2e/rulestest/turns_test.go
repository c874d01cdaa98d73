package rulestest_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/db/dbtest"
	"fabric-guild/events/ssetest"
	"fabric-guild/handlers/e2e/nodetest"
)

func TestTurnsGoOn(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann, bob := n.User("ann"), n.User("bob")
	for _, xType := range []string{"discuss", "work"} {
		id := ann.Makes(t, xType, []string{"bob", "cyd"}, nil).Channel.ID
		n.User("dan").Join(t, id)
		if got := ann.Turn(t, id); got != "ann" {
			t.Errorf("%s: got %s's turn, want the creator's", xType, got)
		}
		for _, step := range []struct {
			author, content, next string
		}{
			{"ann", "to the next", "bob"},
			{"bob", "to the next", "cyd"},
			{"ann", "whose turn it is does not matter", "bob"},
			{"dan", "after the last the first", "ann"},
			{"ann", "<@dan> <@bob>", "dan"},
			{"dan", "<@dan> not to oneself", "ann"},
			{"ann", "<@nobody> <@ann> <@user.id:cyd>", "cyd"},
			{"bob", "to who has it already", "cyd"},
		} {
			post := n.User(step.author).Says(t, id, step.content)
			if got := ann.Turn(t, id); got != step.next || post.Message.TurnUserID != step.next ||
				!cmp.Equal(post.Wakeups, []nodetest.Wakeup{{UserID: step.next, Reason: "turn"}}) {
				t.Errorf("%s: %s: %q: got %s's turn and %+v, want %s's", xType, step.author, step.content,
					got, post, step.next)
			}
		}
		bob.Turns(t, id, nodetest.Body{"action": "pause"})
		if got := n.User("cyd").Says(t, id, "<@bob>"); got.WakeupCount != 0 || got.Message.TurnUserID != "" ||
			ann.Turn(t, id) != "cyd paused" {
			t.Errorf("%s, paused: got %+v and %s's turn, want that it wakes nobody and stays", xType, got,
				ann.Turn(t, id))
		}
		alone := ann.Makes(t, xType, nil, nil).Channel.ID
		if got := ann.Says(t, alone, "hi <@ann> <@bob>"); got.WakeupCount != 0 ||
			got.Message.TurnUserID != "" || ann.Turn(t, alone) != "ann" {
			t.Errorf("%s, alone: got %+v, want that it wakes nobody", xType, got)
		}
	}
}

// The endpoint and the commands have the same effect: the answers, the events, and the turn afterwards.
func TestTurnsAreSet(t *testing.T) {
	dbtest.Long(t) // TestTurnsGoOn is fast
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann, bob := n.User("ann"), n.User("bob")
	fence := n.Fence(t, "bob")
	steps := []struct {
		action, to, command string
		turn                string
		changed             bool
	}{
		{"pass", "", "/pass", "bob", true},
		{"pass", "", "/pass", "cyd", true},
		{"give", "ann", "/turn <@ann>", "ann", true},
		{"give", "ann", "/turn @ann", "ann", false},
		{"give", "cyd", "/turn cyd", "cyd", true},
		{"give", "bob", "/turn <@user.name:bob>", "bob", true},
		{"pause", "", "/pause", "bob paused", true},
		{"pause", "", "/pause", "bob paused", false},
		{"pass", "", "/pass", "cyd paused", true},
		{"resume", "", "/resume", "cyd", true},
		{"resume", "", "/resume ", "cyd", false},
	}
	for _, commands := range []bool{false, true} {
		t.Run(fmt.Sprint("commands ", commands), func(t *testing.T) {
			created := ann.Makes(t, "discuss", []string{"bob", "cyd"}, nil)
			id := created.Channel.ID
			from := fence()
			live := bob.Resume(t, nodetest.Raw, "", from)
			var want []string
			for _, step := range steps {
				var got nodetest.TurnMoved
				if commands {
					c := nodetest.Call[nodetest.CommandDone](t, ann, 200, "POST",
						"/api/channels/"+id+"/messages", nodetest.Body{"content": step.command})
					if c.Command != step.action || c.Turn == nil {
						t.Fatalf("%s: got %+v, want %s with its turn", step.command, c, step.action)
					}
					got = nodetest.TurnMoved{Turn: *c.Turn, Cursor: c.Cursor}
				} else {
					b := nodetest.Body{"action": step.action}
					if step.to != "" {
						b["userId"] = step.to
					}
					got = ann.Turns(t, id, b)
				}
				if got.Turn.String() != step.turn || ann.Turn(t, id) != step.turn ||
					(nodetest.Seq(got.Cursor) > nodetest.Seq(from)) != step.changed {
					t.Errorf("%s: got %+v, and %s's turn; want %s's, changed: %v", step.command, got,
						ann.Turn(t, id), step.turn, step.changed)
				}
				if step.changed {
					want = append(want, fmt.Sprintf("%s %s %s", got.Cursor,
						strings.TrimSuffix(step.turn, " paused"), step.action))
				}
			}
			last := fence()
			if diff := cmp.Diff(want,
				turnsHeard(t, nodetest.InChannel(live.Until(t, last), id))); diff != "" {
				t.Errorf("live (-want +got):\n%s", diff)
			}
			for _, r := range n.Replays(t) {
				frames, _ := raws(t, bob, r.N, "", from, last)
				if diff := cmp.Diff(want, turnsHeard(t, nodetest.InChannel(frames, id))); diff != "" {
					t.Errorf("%s (-want +got):\n%s", r.Name, diff)
				}
			}
			if got := ann.History(t, id); len(got) != 0 {
				t.Errorf("got history %q, want none: a command is no message", got)
			}
		})
	}
}

// turnsHeard are frames that all are of turns, as "id user reason".
func turnsHeard(t *testing.T, frames []ssetest.Frame) (got []string) {
	t.Helper()
	for _, f := range frames {
		d := nodetest.Data[nodetest.TurnChanged](t, f, "turn.changed")
		got = append(got, fmt.Sprintf("%s %s %s", f.ID, d.UserID, d.Reason))
	}
	return got
}

func TestWhoMaySetTheTurn(t *testing.T) {
	dbtest.Long(t) // TestWhoMayWhat is fast
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann, str := n.User("ann"), n.User("str")
	discuss := ann.Makes(t, "discuss", []string{"bob"}, nil).Channel.ID
	hidden := ann.Create(t, nodetest.NewChannel{
		GuildID: "g1", Name: "h", XType: "work",
		Private: true,
	}).Channel.ID
	general := ann.General(t, "ops", "bob").Channel.ID
	archived := ann.Makes(t, "work", []string{"bob"}, nil).Channel.ID
	nodetest.Call[nodetest.Created](t, ann, 200, "DELETE", "/api/channels/"+archived, nil)
	before := n.Count(t, `SELECT count(*) FROM events`)
	for _, tt := range []struct {
		name    string
		who     *nodetest.User
		channel string
		body    nodetest.Body
		command string // the same; "": there is none
		status  int
		code    string
	}{
		{
			"to who is no member", ann, discuss,
			nodetest.Body{"action": "give", "userId": "str"},
			"/turn @str",
			422, "invalid",
		},
		{"to nobody", ann, discuss, nodetest.Body{"action": "give"}, "", 422, "invalid"},
		{
			"a pass to somebody", ann, discuss,
			nodetest.Body{"action": "pass", "userId": "bob"},
			"",
			422, "invalid",
		},
		{"leave is no action", ann, discuss, nodetest.Body{"action": "leave"}, "", 422, "invalid"},
		{"no turns there", ann, general, nodetest.Body{"action": "pass"}, "/pass", 422, "no_turns"},
		{"no member", str, discuss, nodetest.Body{"action": "take"}, "/pass", 403, "not_member"},
		{"a stranger", str, hidden, nodetest.Body{"action": "take"}, "/pass", 404, "channel_not_found"},
		{"archived", ann, archived, nodetest.Body{"action": "pass"}, "/pass", 409, "channel_archived"},
	} {
		tt.who.WantRefused(t, tt.status, tt.code, "POST", "/api/channels/"+tt.channel+"/turn", tt.body)
		if tt.command != "" {
			tt.who.WantRefused(t, tt.status, tt.code, "POST", "/api/channels/"+tt.channel+"/messages",
				nodetest.Body{"content": tt.command})
		}
	}
	ann.WantRefused(t, 422, "no_turns", "GET", "/api/channels/"+general+"/turn", nil)
	str.WantRefused(t, 404, "channel_not_found", "GET", "/api/channels/"+hidden+"/turn", nil)
	if got := n.Count(t, `SELECT count(*) FROM events`); got != before {
		t.Errorf("got %d events, want the %d that were there", got, before)
	}
	if got := n.User("bob").Turns(t, discuss, nodetest.Body{"action": "take"}); got.Turn.String() != "bob" {
		t.Errorf("got %s's turn, want that any member takes it", got.Turn)
	}
}

// A user who has the turn and leaves, or is removed, passes it on. In an empty channel it goes to the next
// one who joins.
func TestALeaverPassesTheTurnOn(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann, bob, cyd := n.User("ann"), n.User("bob"), n.User("cyd")
	fence := n.Fence(t, "cyd")
	id := ann.Makes(t, "work", []string{"bob", "cyd"}, nil).Channel.ID
	from := fence()
	live := cyd.Resume(t, nodetest.Raw, "", from)
	cyd.Turns(t, id, nodetest.Body{"action": "pause"})
	ann.Remove(t, id, "bob") // has no turn: nothing to tell
	bob.Join(t, id)          // the last now
	ann.Leave(t, id)
	n.User("cyd").Remove(t, id, "bob")
	bob.Join(t, id)
	cyd.Turns(t, id, nodetest.Body{"action": "give", "userId": "bob"})
	cyd.Remove(t, id, "bob")
	last := fence()
	got := []string{}
	for _, f := range nodetest.InChannel(live.Until(t, last), id) {
		if f.Event == "turn.changed" {
			d := nodetest.Data[nodetest.TurnChanged](t, f, "turn.changed")
			got = append(got, d.UserID+" "+d.Reason)
		} else {
			got = append(got, f.Event+" "+nodetest.Data[nodetest.Membership](t, f, f.Event).UserID)
		}
	}
	want := []string{
		"ann pause", "member.left bob", "member.joined bob", "member.left ann", "cyd leave",
		"member.left bob", "member.joined bob", "bob give", "member.left bob", "cyd leave",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := cyd.Turn(t, id); got != "cyd paused" {
		t.Errorf("got %s, want that it stays paused", got)
	}
	cyd.Turns(t, id, nodetest.Body{"action": "resume"})
	cyd.Leave(t, id)
	if got := ann.Turn(t, id); got != "-" {
		t.Errorf("an empty channel: got %s's turn, want nobody's", got)
	}
	bob.Join(t, id)
	ann.Join(t, id)
	if got := ann.Turn(t, id); got != "bob" {
		t.Errorf("got %s's turn, want that of the first who joined", got)
	}
	if got := bob.Says(t, id, "hi"); !cmp.Equal(got.Wakeups,
		[]nodetest.Wakeup{{UserID: "ann", Reason: "turn"}}) {
		t.Errorf("got %+v, want ann woken", got.Wakeups)
	}
}

// Sixteen messages at once: sixteen hand-overs, each of which follows from its author and its mentions, and
// one user woken by each, never its author.
func TestSixteenHandOversAtOnce(t *testing.T) {
	dbtest.Long(t) // TestTurnsGoOn is fast
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	crew := []string{}
	for i := range 16 {
		crew = append(crew, fmt.Sprintf("m%02d", i))
	}
	ann := n.User("ann")
	ring := slices.Concat([]string{"ann"}, crew)
	fence := n.Fence(t, ring...)
	id := ann.Makes(t, "discuss", crew, nil).Channel.ID
	from := fence()
	live := map[string]*nodetest.Stream{}
	for _, name := range ring {
		live[name] = n.User(name).Resume(t, nodetest.Raw, "", from)
	}
	woken := map[string][]string{}
	for range 10 {
		posts := burst(t, n, id, crew)
		holder := ""
		for _, p := range posts {
			author := p.Message.AuthorUserID
			holder = ring[(slices.Index(ring, author)+1)%len(ring)]
			if len(p.Message.MentionUserIDs) > 0 {
				holder = p.Message.MentionUserIDs[0]
			}
			if p.Message.TurnUserID != holder ||
				!cmp.Equal(p.Wakeups, []nodetest.Wakeup{{UserID: holder, Reason: "turn"}}) {
				t.Errorf("%s: got %+v, want %s's turn", author, p, holder)
			}
			woken[holder] = append(woken[holder], p.Cursor)
		}
		if got := ann.Turn(t, id); got != holder {
			t.Errorf("got %s's turn at the end, want %s's, of the last in the log", got, holder)
		}
	}
	last := fence()
	for name, s := range live {
		var got []string
		for _, f := range nodetest.InChannel(s.Until(t, last), id) {
			if h := nodetest.Data[nodetest.FullHeard](t, f, "message.created"); h.AuthorUserID == name ||
				h.Wakeup != (h.TurnUserID == name) {
				t.Errorf("%s: got %s", name, f.Raw)
			} else if h.Wakeup {
				got = append(got, f.ID)
			}
		}
		if diff := cmp.Diff(woken[name], got); diff != "" {
			t.Errorf("%s was woken by (-want +got):\n%s", name, diff)
		}
	}
}

// burst has everyone of the crew say something at once, and returns it in the order of the log.
func burst(t *testing.T, n *nodetest.Node, channel string, crew []string) []nodetest.FullPost {
	t.Helper()
	posts := make([]nodetest.FullPost, len(crew))
	var posting sync.WaitGroup
	for i, name := range crew {
		posting.Go(func() {
			content := "to the next"
			if i%3 == 0 {
				content = fmt.Sprintf("<@%s> <@%s>", name, crew[(i+5)%len(crew)])
			}
			var err error
			if posts[i], err = nodetest.Ask[nodetest.FullPost](n.User(name), 201, "POST", "/api/channels/"+
				channel+"/messages", nodetest.Body{"content": content}); err != nil {
				t.Error(err)
			}
		})
	}
	posting.Wait()
	slices.SortFunc(posts, func(a, b nodetest.FullPost) int {
		return int(nodetest.Seq(a.Cursor) - nodetest.Seq(b.Cursor))
	})
	return posts
}
