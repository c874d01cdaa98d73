package rulestest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/db/dbtest"
	"fabric-guild/events/ssetest"
	"fabric-guild/handlers/center/centertest"
	"fabric-guild/handlers/e2e/nodetest"
)

// hears is what a connection is to hear of a message: nothing, or its wakeReason.
func hears(outcome, query string) (wakeup bool, reason string, ok bool) {
	outcome, reason, _ = strings.Cut(outcome, " ")
	switch {
	case outcome == "", outcome == "skip" && (reason != "author" || query != "?echo=true"),
		query == "?wakeup=true" && outcome != "wake":
		return false, "", false
	}
	return outcome == "wake", reason, true
}

var queries = []string{"", "?echo=true", "?wakeup=true"}

// The table of the contract, live, from the ring and from Postgres, in the history and in the queue. Before
// the replays everything changes that a message is decided by: nothing of it shows. All scenes of one kind of
// author are on one node: each has a channel of its own.
func TestDelivery(t *testing.T) {
	t.Parallel()
	for _, agent := range []bool{false, true} {
		for _, twoState := range []bool{false, true} {
			t.Run(fmt.Sprintf("of an agent %v, two-state %v", agent, twoState), func(t *testing.T) {
				if agent || twoState {
					dbtest.Long(t)
				}
				t.Parallel()
				delivers(t, boundScenes(agent, twoState), agent, twoState)
			})
		}
	}
}

func delivers(t *testing.T, scenes []boundScene, agent, twoState bool) {
	fake := centertest.New(t)
	fake.SetAdmin("adm@example.org", "adm")
	n := nodetest.Start(t, nodetest.Setup{Center: fake, TwoState: twoState})
	ann := n.User("ann")
	if agent {
		n.Agents(t, "ann")
	}
	fence := n.Fence(t, cast...)
	ids := make([]string, len(scenes))
	for i, sc := range scenes {
		ids[i] = sc.open(t, ann)
	}
	from := fence()
	listen := func(at *nodetest.Node) map[string]*nodetest.Stream {
		listening := map[string]*nodetest.Stream{}
		for _, name := range cast {
			for _, query := range queries {
				listening[name+query] = n.User(name).At(at).Resume(t, nodetest.Raw, query, from)
			}
		}
		return listening
	}
	live := listen(n)
	posts := make([]nodetest.FullPost, len(scenes))
	for i, sc := range scenes {
		posts[i] = sc.post(t, ann, ids[i])
	}
	last := fence()
	compare := func(when string, listening map[string]*nodetest.Stream) {
		t.Helper()
		for key, s := range listening {
			wantHeard(t, when, key, s.Until(t, last), scenes, posts, twoState)
		}
	}
	compare("live", live)
	for _, name := range cast {
		for _, query := range queries {
			frames := polled(t, n.User(name), strings.TrimPrefix(query, "?"), from, last)
			wantHeard(t, "polled", name+query, frames, scenes, posts, twoState)
		}
	}
	explain := func(when string) {
		t.Helper()
		for i, sc := range scenes {
			if diff := cmp.Diff(sc.wants(twoState), ann.Deliveries(t, posts[i].Message.ID)); diff != "" {
				t.Errorf("%s: %s, %s: deliveries (-want +got):\n%s", when, sc.xType, sc.name, diff)
			}
		}
	}
	explain("at once")
	for _, name := range cast {
		wantHistory(t, n.User(name), scenes, posts, twoState)
		if name != "ann" { // whoever has a queue is an agent, and ann may not be one
			wantQueue(t, n.User(name), from, scenes, posts, twoState)
		}
	}
	for i, sc := range scenes {
		wantWakeups(t, sc.scene, posts[i], twoState)
		upset(t, ann, ids[i], sc.scene)
	}
	fake.SetAdmin("pla@example.org", "pla")
	n.Operate(t, 200)
	explain("after everything changed")
	for _, r := range n.Replays(t) {
		compare(r.Name, listen(r.N))
	}
}

// polled returns what polls show up to an id, as frames.
func polled(t *testing.T, u *nodetest.User, query, from, last string) (frames []ssetest.Frame) {
	t.Helper()
	for after := from; ; {
		p := u.Poll(t, "limit=40&wait=5&after="+after+"&"+query)
		for _, item := range p.Items {
			frames = append(frames, ssetest.Frame{
				Event: item.Event, ID: item.ID, Data: string(item.Data),
				Raw: string(item.Data),
			})
			if item.ID == last {
				return frames
			}
		}
		if p.Cursor == after {
			t.Fatalf("polls of %s end at %s, want %s", u.ID, after, last)
		}
		after = p.Cursor
	}
}

// wantHistory compares the decisions in the histories of the channels that the user is in.
func wantHistory(
	t *testing.T, u *nodetest.User, scenes []boundScene, posts []nodetest.FullPost, twoState bool,
) {
	t.Helper()
	for i, sc := range scenes {
		if u.ID != "ann" && !slices.Contains(append(sc.members, sc.wake...), u.ID) {
			continue
		}
		outcome, reason, _ := strings.Cut(sc.wants(twoState)[u.ID], " ")
		path := "/api/channels/" + posts[i].Message.ChannelID + "/messages?limit=1"
		got := nodetest.Call[struct {
			Items []nodetest.FullMessage `json:"items"`
			Next  *string                `json:"next"`
		}](t, u, 200, "GET", path, nil).Items[0]
		decided := got.Wakeup != nil
		if decided != (outcome != "skip") ||
			decided && (*got.Wakeup != (outcome == "wake") || got.WakeReason != reason) {
			t.Errorf("%s, %s: got %+v in the history of %s, want %s %s", sc.xType, sc.name, got, u.ID,
				outcome, reason)
		}
	}
}

// wantQueue opens the user's queue and empties it: it has the messages that wake the user, and no others.
func wantQueue(
	t *testing.T, u *nodetest.User, from string, scenes []boundScene, posts []nodetest.FullPost,
	twoState bool,
) {
	t.Helper()
	want, got := map[string]string{}, map[string]string{}
	for i, sc := range scenes {
		if reason, wakes := strings.CutPrefix(sc.wants(twoState)[u.ID], "wake "); wakes {
			want[posts[i].Message.ID] = reason
		}
	}
	for w := u.Claim(t, nodetest.Body{"since": from}); w != nil; w = u.Claim(t, nodetest.Body{}) {
		for _, m := range w.Messages {
			got[m.ID] = m.WakeReason
		}
		if _, err := u.Do("POST", "/api/wakes/"+w.ID+"/ack", nodetest.Body{}); err != nil {
			t.Fatal(err)
		}
	}
	for id := range got { // of the fence, which everyone hears
		if !slices.ContainsFunc(posts, func(p nodetest.FullPost) bool { return p.Message.ID == id }) {
			delete(got, id)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the queue of %s (-want +got):\n%s", u.ID, diff)
	}
}

func (sc scene) wants(twoState bool) map[string]string {
	if twoState {
		return sc.two
	}
	return sc.three
}

func wantHeard(
	t *testing.T, when, key string, frames []ssetest.Frame, scenes []boundScene, posts []nodetest.FullPost,
	twoState bool,
) {
	t.Helper()
	name, query, _ := strings.Cut(key, "?")
	if query != "" {
		query = "?" + query
	}
	heard := map[string][]ssetest.Frame{} // by channel
	for _, f := range frames {
		if f.Event == "message.created" {
			id := nodetest.Data[nodetest.FullHeard](t, f, f.Event).ChannelID
			heard[id] = append(heard[id], f)
		}
	}
	for i, sc := range scenes {
		got := heard[posts[i].Message.ChannelID]
		wakeup, reason, ok := hears(sc.wants(twoState)[name], query)
		switch {
		case !ok && len(got) > 0, ok && len(got) != 1:
			t.Errorf("%s: %s, %s: %s: got %v, want it heard: %v", when, sc.xType, sc.name, key, got, ok)
		case ok:
			want := nodetest.FullHeard{FullMessage: posts[i].Message, Wakeup: wakeup, WakeReason: reason}
			if diff := cmp.Diff(want,
				nodetest.Data[nodetest.FullHeard](t, got[0], "message.created")); diff != "" ||
				got[0].ID != posts[i].Cursor {
				t.Errorf("%s: %s, %s: %s: got id %s, want %s (-want +got):\n%s", when, sc.xType, sc.name, key,
					got[0].ID, posts[i].Cursor, diff)
			}
		}
	}
}

// wantWakeups compares the answer to a post with what it is to everyone.
func wantWakeups(t *testing.T, sc scene, post nodetest.FullPost, twoState bool) {
	t.Helper()
	want := map[string]string{}
	for user, outcome := range sc.wants(twoState) {
		if reason, wakes := strings.CutPrefix(outcome, "wake "); wakes {
			want[user] = reason
		}
	}
	got := map[string]string{}
	for _, w := range post.Wakeups {
		got[w.UserID] = w.Reason
	}
	if diff := cmp.Diff(want, got); diff != "" || post.WakeupCount != len(want) ||
		len(post.Wakeups) != len(want) {
		t.Errorf("%s, %s: got a count of %d, want %d; wakeups (-want +got):\n%s", sc.xType, sc.name,
			post.WakeupCount, len(want), diff)
	}
	if post.Message.TurnUserID != sc.turn {
		t.Errorf("%s, %s: got turnUserId %q, want %q", sc.xType, sc.name, post.Message.TurnUserID, sc.turn)
	}
}

// upset changes everything that can be changed in a channel.
func upset(t *testing.T, ann *nodetest.User, channel string, sc scene) {
	t.Helper()
	change := nodetest.Body{"loopLimit": 9}
	if sc.xType == "general" || sc.xType == "triage" || sc.xType == "custom" || sc.xType == "report" {
		change = nodetest.Body{"loopLimit": 0, "humanWakes": "mentions", "agentWakes": "none"}
	}
	if nodetest.Call[nodetest.Roomy](t, ann, 200, "GET", "/api/channels/"+channel,
		nil).Channel.AgentWakes == "none" {
		change = nodetest.Body{"loopLimit": 1, "humanWakes": "all", "agentWakes": "all"}
	}
	nodetest.Call[nodetest.Created](t, ann, 200, "PATCH", "/api/channels/"+channel, change)
	switch sc.xType {
	case "dm":
		return
	case "triage", "custom":
		ann.Wakes(t, channel, "ann")
	case "discuss", "work":
		if slices.Contains(sc.members, "pla") {
			ann.Turns(t, channel, nodetest.Body{"action": "give", "userId": "pla"})
		}
		ann.Turns(t, channel, nodetest.Body{"action": "pause"})
	}
	ann.Add(t, channel, "str")
	for _, gone := range sc.members {
		ann.Remove(t, channel, gone)
	}
}
