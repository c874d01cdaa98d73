package handlers_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTurnsGoOn(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	ann, bob := n.user("ann"), n.user("bob")
	for _, xType := range []string{"discuss", "work"} {
		id := ann.makes(t, xType, []string{"bob", "cyd"}, nil).Channel.ID
		n.user("dan").join(t, id)
		if got := ann.turn(t, id); got != "ann" {
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
			post := n.user(step.author).says(t, id, step.content)
			if got := ann.turn(t, id); got != step.next || post.Message.TurnUserID != step.next ||
				!cmp.Equal(post.Wakeups, []wakeup{{step.next, "turn"}}) {
				t.Errorf("%s: %s: %q: got %s's turn and %+v, want %s's", xType, step.author, step.content, got, post, step.next)
			}
		}
		bob.turns(t, id, body{"action": "pause"})
		if got := n.user("cyd").says(t, id, "<@bob>"); got.WakeupCount != 0 || got.Message.TurnUserID != "" || ann.turn(t, id) != "cyd paused" {
			t.Errorf("%s, paused: got %+v and %s's turn, want that it wakes nobody and stays", xType, got, ann.turn(t, id))
		}
		alone := ann.makes(t, xType, nil, nil).Channel.ID
		if got := ann.says(t, alone, "hi <@ann> <@bob>"); got.WakeupCount != 0 || got.Message.TurnUserID != "" || ann.turn(t, alone) != "ann" {
			t.Errorf("%s, alone: got %+v, want that it wakes nobody", xType, got)
		}
	}
}

// The endpoint and the commands do the same: what they answer, what the channel hears, what is so afterwards.
func TestTurnsAreSet(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	ann, bob := n.user("ann"), n.user("bob")
	fence := n.fence(t, "bob")
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
			created := ann.makes(t, "discuss", []string{"bob", "cyd"}, nil)
			id := created.Channel.ID
			from := fence()
			live := bob.resume(t, raw, "", from)
			var want []string
			for _, step := range steps {
				var got turnMoved
				if commands {
					c := call[commandDone](t, ann, 200, "POST", "/api/channels/"+id+"/messages", body{"content": step.command})
					if c.Command != step.action || c.Turn == nil {
						t.Fatalf("%s: got %+v, want %s with its turn", step.command, c, step.action)
					}
					got = turnMoved{*c.Turn, c.Cursor}
				} else {
					b := body{"action": step.action}
					if step.to != "" {
						b["userId"] = step.to
					}
					got = ann.turns(t, id, b)
				}
				if got.Turn.String() != step.turn || ann.turn(t, id) != step.turn || (seq(got.Cursor) > seq(from)) != step.changed {
					t.Errorf("%s: got %+v, and %s's turn; want %s's, changed: %v", step.command, got, ann.turn(t, id), step.turn, step.changed)
				}
				if step.changed {
					want = append(want, fmt.Sprintf("%s %s %s", got.Cursor, strings.TrimSuffix(step.turn, " paused"), step.action))
				}
			}
			last := fence()
			if diff := cmp.Diff(want, turnsHeard(t, here(live.until(t, last), id))); diff != "" {
				t.Errorf("live (-want +got):\n%s", diff)
			}
			for _, r := range n.replays(t) {
				frames, _ := bob.raws(t, r.n, "", from, last)
				if diff := cmp.Diff(want, turnsHeard(t, here(frames, id))); diff != "" {
					t.Errorf("%s (-want +got):\n%s", r.name, diff)
				}
			}
			if got := ann.history(t, id); len(got) != 0 {
				t.Errorf("got history %q, want none: a command is no message", got)
			}
		})
	}
}

// turnsHeard are frames that all are of turns, as "id user reason".
func turnsHeard(t *testing.T, frames []frame) (got []string) {
	t.Helper()
	for _, f := range frames {
		d := data[turnChanged](t, f, "turn.changed")
		got = append(got, fmt.Sprintf("%s %s %s", f.id, d.UserID, d.Reason))
	}
	return got
}

func TestWhoMaySetTheTurn(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	ann, str := n.user("ann"), n.user("str")
	discuss := ann.makes(t, "discuss", []string{"bob"}, nil).Channel.ID
	hidden := ann.create(t, newChannel{GuildID: "g1", Name: "h", XType: "work", Private: true}).Channel.ID
	general := ann.general(t, "ops", "bob").Channel.ID
	archived := ann.makes(t, "work", []string{"bob"}, nil).Channel.ID
	call[created](t, ann, 200, "DELETE", "/api/channels/"+archived, nil)
	before := n.count(t, `SELECT count(*) FROM events`)
	for _, tt := range []struct {
		name    string
		who     *user
		channel string
		body    body
		command string // the same; "": there is none
		status  int
		code    string
	}{
		{"to who is no member", ann, discuss, body{"action": "give", "userId": "str"}, "/turn @str", 422, "invalid"},
		{"to nobody", ann, discuss, body{"action": "give"}, "", 422, "invalid"},
		{"a pass to somebody", ann, discuss, body{"action": "pass", "userId": "bob"}, "", 422, "invalid"},
		{"leave is no action", ann, discuss, body{"action": "leave"}, "", 422, "invalid"},
		{"no turns there", ann, general, body{"action": "pass"}, "/pass", 422, "no_turns"},
		{"no member", str, discuss, body{"action": "take"}, "/pass", 403, "not_member"},
		{"a stranger", str, hidden, body{"action": "take"}, "/pass", 404, "channel_not_found"},
		{"archived", ann, archived, body{"action": "pass"}, "/pass", 409, "channel_archived"},
	} {
		tt.who.wantRefused(t, tt.status, tt.code, "POST", "/api/channels/"+tt.channel+"/turn", tt.body)
		if tt.command != "" {
			tt.who.wantRefused(t, tt.status, tt.code, "POST", "/api/channels/"+tt.channel+"/messages", body{"content": tt.command})
		}
	}
	ann.wantRefused(t, 422, "no_turns", "GET", "/api/channels/"+general+"/turn", nil)
	str.wantRefused(t, 404, "channel_not_found", "GET", "/api/channels/"+hidden+"/turn", nil)
	if got := n.count(t, `SELECT count(*) FROM events`); got != before {
		t.Errorf("got %d events, want the %d that were there", got, before)
	}
	if got := n.user("bob").turns(t, discuss, body{"action": "take"}); got.Turn.String() != "bob" {
		t.Errorf("got %s's turn, want that any member takes it", got.Turn)
	}
}

// Who has the turn and leaves, or is removed, passes it on; in an emptied channel it waits for who joins.
func TestALeaverPassesTheTurnOn(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	ann, bob, cyd := n.user("ann"), n.user("bob"), n.user("cyd")
	fence := n.fence(t, "cyd")
	id := ann.makes(t, "work", []string{"bob", "cyd"}, nil).Channel.ID
	from := fence()
	live := cyd.resume(t, raw, "", from)
	cyd.turns(t, id, body{"action": "pause"})
	ann.remove(t, id, "bob") // has no turn: nothing to tell
	bob.join(t, id)          // the last now
	ann.leave(t, id)
	n.user("cyd").remove(t, id, "bob")
	bob.join(t, id)
	cyd.turns(t, id, body{"action": "give", "userId": "bob"})
	cyd.remove(t, id, "bob")
	last := fence()
	got := []string{}
	for _, f := range here(live.until(t, last), id) {
		if f.event == "turn.changed" {
			d := data[turnChanged](t, f, "turn.changed")
			got = append(got, d.UserID+" "+d.Reason)
		} else {
			got = append(got, f.event+" "+data[membership](t, f, f.event).UserID)
		}
	}
	want := []string{
		"ann pause", "member.left bob", "member.joined bob", "member.left ann", "cyd leave",
		"member.left bob", "member.joined bob", "bob give", "member.left bob", "cyd leave",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := cyd.turn(t, id); got != "cyd paused" {
		t.Errorf("got %s, want that it stays paused", got)
	}
	cyd.turns(t, id, body{"action": "resume"})
	cyd.leave(t, id)
	if got := ann.turn(t, id); got != "-" {
		t.Errorf("an empty channel: got %s's turn, want nobody's", got)
	}
	bob.join(t, id)
	ann.join(t, id)
	if got := ann.turn(t, id); got != "bob" {
		t.Errorf("got %s's turn, want that of the first who joined", got)
	}
	if got := bob.says(t, id, "hi"); !cmp.Equal(got.Wakeups, []wakeup{{"ann", "turn"}}) {
		t.Errorf("got %+v, want ann woken", got.Wakeups)
	}
}

// Sixteen messages at once: sixteen hand-overs, each of which follows from its author and its mentions, and
// one user woken by each, never its author.
func TestSixteenHandOversAtOnce(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	crew := []string{}
	for i := range 16 {
		crew = append(crew, fmt.Sprintf("m%02d", i))
	}
	ann := n.user("ann")
	ring := slices.Concat([]string{"ann"}, crew)
	fence := n.fence(t, ring...)
	id := ann.makes(t, "discuss", crew, nil).Channel.ID
	from := fence()
	live := map[string]*stream{}
	for _, name := range ring {
		live[name] = n.user(name).resume(t, raw, "", from)
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
			if p.Message.TurnUserID != holder || !cmp.Equal(p.Wakeups, []wakeup{{holder, "turn"}}) {
				t.Errorf("%s: got %+v, want %s's turn", author, p, holder)
			}
			woken[holder] = append(woken[holder], p.Cursor)
		}
		if got := ann.turn(t, id); got != holder {
			t.Errorf("got %s's turn at the end, want %s's, of the last in the log", got, holder)
		}
	}
	last := fence()
	for name, s := range live {
		var got []string
		for _, f := range here(s.until(t, last), id) {
			if h := data[fullHeard](t, f, "message.created"); h.AuthorUserID == name || h.Wakeup != (h.TurnUserID == name) {
				t.Errorf("%s: got %s", name, f.raw)
			} else if h.Wakeup {
				got = append(got, f.id)
			}
		}
		if diff := cmp.Diff(woken[name], got); diff != "" {
			t.Errorf("%s was woken by (-want +got):\n%s", name, diff)
		}
	}
}

// burst has everyone of the crew say something at once, and returns it in the order of the log.
func burst(t *testing.T, n *node, channel string, crew []string) []fullPost {
	t.Helper()
	posts := make([]fullPost, len(crew))
	var posting sync.WaitGroup
	for i, name := range crew {
		posting.Go(func() {
			content := "to the next"
			if i%3 == 0 {
				content = fmt.Sprintf("<@%s> <@%s>", name, crew[(i+5)%len(crew)])
			}
			var err error
			if posts[i], err = ask[fullPost](n.user(name), 201, "POST", "/api/channels/"+channel+"/messages", body{"content": content}); err != nil {
				t.Error(err)
			}
		})
	}
	posting.Wait()
	slices.SortFunc(posts, func(a, b fullPost) int { return int(seq(a.Cursor) - seq(b.Cursor)) })
	return posts
}
