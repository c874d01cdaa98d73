package rulestest_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers/e2e/nodetest"
)

// The answer counts all users who are woken, and names the first 20.
func TestWakeupsOfALargeChannel(t *testing.T) {
	dbtest.Long(t) // TestMessages is fast
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann := n.User("ann")
	crew, mentions := []string{}, ""
	for i := range 60 {
		crew = append(crew, fmt.Sprintf("m%02d", i))
		mentions += fmt.Sprintf("<@m%02d>", i)
	}
	for _, tt := range []struct {
		xType, content, reason string
		wake                   []string
		count                  int
	}{
		{"general", "hi", "everyone", nil, 60},
		{"general", mentions, "mention", nil, 60},
		{"general", "<@m07>", "mention", nil, 1},
		{"triage", "hi", "on_duty", crew, 60},
		{"triage", mentions, "mention", nil, 60},
		{"triage", mentions, "on_duty", crew, 60},
		{"custom", mentions, "wake_list", crew, 60},
		{"report", mentions, "", nil, 0},
		{"work", mentions, "turn", nil, 1},
	} {
		id := ann.Makes(t, tt.xType, crew, tt.wake).Channel.ID
		got := ann.Says(t, id, tt.content)
		if got.WakeupCount != tt.count || len(got.Wakeups) != min(20, tt.count) {
			t.Errorf("%s, %.10s: got %d wakeups of %d, want %d of %d", tt.xType, tt.content, len(got.Wakeups),
				got.WakeupCount, min(20, tt.count), tt.count)
		}
		explained, woken := ann.Deliveries(t, got.Message.ID), 0
		for _, outcome := range explained {
			if outcome == "wake "+tt.reason {
				woken++
			}
		}
		if woken != tt.count || len(explained) != 61 {
			t.Errorf("%s, %.10s: got deliveries %v, want %d of 61 woken", tt.xType, tt.content,
				explained, tt.count)
		}
		for _, w := range got.Wakeups {
			if explained[w.UserID] != "wake "+w.Reason {
				t.Errorf("%s, %.10s: got %v, want it as its deliveries: %s", tt.xType, tt.content, w,
					explained[w.UserID])
			}
		}
	}
}

func TestTheWakeList(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann, bob := n.User("ann"), n.User("bob")
	joined := n.User("duty").Open(t, nodetest.Raw, "")
	joined.Next(t)
	triage := ann.Makes(t, "triage", []string{"bob"}, []string{"duty", "bob", "duty"})
	if f := joined.Next(t); f.Event != "channel.joined" || f.ID != triage.Cursor {
		t.Errorf("got %s for who is on duty, want channel.joined", f.Raw)
	}
	custom := ann.Makes(t, "custom", []string{"bob"}, nil).Channel.ID
	general := ann.General(t, "ops", "bob").Channel.ID
	path := func(channel string) string { return "/api/channels/" + channel + "/wake" }
	id := triage.Channel.ID
	if got := nodetest.Call[nodetest.WakeList](t, bob, 200, "GET", path(id), nil); !cmp.Equal(got,
		nodetest.WakeList{UserIDs: []string{"duty", "bob"}}) {
		t.Errorf("got %v, want it as it was created", got)
	}
	if got := nodetest.Call[nodetest.WakeList](t, bob, 200, "GET", path(custom), nil); got.UserIDs == nil ||
		len(got.UserIDs) != 0 {
		t.Errorf("got %v, want an empty list", got)
	}
	set := ann.Wakes(t, id, "bob", "bob")
	same := ann.Wakes(t, id, "bob")
	if !cmp.Equal(set.UserIDs, []string{"bob"}) || nodetest.Seq(set.Cursor) <= nodetest.Seq(triage.Cursor) ||
		nodetest.Seq(same.Cursor) > nodetest.Seq(triage.Cursor) {
		t.Errorf("got %v and then %v, want that the second changes nothing", set, same)
	}
	if f := joined.Next(t); f.Event != "channel.updated" || f.ID != set.Cursor {
		t.Errorf("got %s, want channel.updated", f.Raw)
	}
	for _, tt := range []struct {
		name    string
		who     *nodetest.User
		channel string
		body    any
		status  int
		code    string
	}{
		{"who is no member", ann, id, nodetest.Body{"userIds": []string{"bob", "str"}}, 422, "invalid"},
		{
			"no channel with a wake list", ann, general,
			nodetest.Body{"userIds": []string{"bob"}},
			422,
			"no_wake_list",
		},
		{"another than the creator", bob, id, nodetest.Body{"userIds": []string{"bob"}}, 403, "not_creator"},
		{"a stranger", n.User("str"), id, nodetest.Body{"userIds": []string{"bob"}}, 403, "not_member"},
		{"no list", ann, id, nodetest.Body{}, 400, "malformed"},
		{"no id", ann, id, nodetest.Body{"userIds": []string{"a b"}}, 422, "invalid"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.who.WantRefused(t, tt.status, tt.code, "PUT", path(tt.channel), tt.body)
		})
	}
	ann.WantRefused(t, 422, "no_wake_list", "GET", path(general), nil)
	n.User("str").WantRefused(t, 422, "invalid", "POST", "/api/channels",
		nodetest.Body{"guildId": "g1", "name": "c", "xType": "custom", "wakeUserIds": []string{"x"}})
	if got := ann.Wakes(t, id); len(got.UserIDs) != 0 || ann.Says(t, id, "hi").WakeupCount != 0 {
		t.Errorf("got %v, want an empty list that wakes nobody", got)
	}
}

// Who is on the wake list and has left is no recipient; as the admin they hear what any admin does. What is
// answered as the list can be set as the list.
func TestWhoIsOnTheWakeListAndHasLeft(t *testing.T) {
	t.Parallel()
	for _, admin := range []string{"", "duty"} {
		t.Run("the admin is "+admin, func(t *testing.T) {
			t.Parallel()
			n := nodetest.Start(t, nodetest.Setup{Admin: admin})
			ann, duty := n.User("ann"), n.User("duty")
			fence := n.Fence(t, "duty")
			id := ann.Makes(t, "triage", nil, []string{"duty"}).Channel.ID
			duty.Leave(t, id)
			from := fence()
			live := duty.Resume(t, nodetest.Raw, "", from)
			away := ann.Says(t, id, "while they are away")
			want := map[string]string{"ann": "skip author"}
			if admin != "" {
				want["duty"] = "observer admin" // as any admin who is no member
			}
			if diff := cmp.Diff(want, ann.Deliveries(t, away.Message.ID)); diff != "" ||
				away.WakeupCount != 0 {
				t.Errorf("got %d wakeups, want none; deliveries (-want +got):\n%s", away.WakeupCount, diff)
			}
			var heard []string
			for _, f := range nodetest.InChannel(live.Until(t, fence()), id) {
				heard = append(heard, nodetest.Data[nodetest.FullHeard](t, f, "message.created").WakeReason)
			}
			list := nodetest.Call[nodetest.WakeList](t, ann, 200, "GET", "/api/channels/"+id+"/wake", nil)
			ann.Wakes(t, id, list.UserIDs...)
			if want := map[string][]string{"duty": {"admin"}}[admin]; !cmp.Equal(heard, want) {
				t.Errorf("got it heard as %q, want %q", heard, want)
			}
		})
	}
}
