package rulestest_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/db/dbtest"
	"fabric-guild/events/ssetest"
	"fabric-guild/handlers/center/centertest"
	"fabric-guild/handlers/e2e/nodetest"
)

// A scene is one message: who is in its channel, what it says, and what it is to each, as the contract's
// table has it: in three-state and, where that differs, in two-state.
type scene struct {
	name, xType string
	members     []string // beside ann, who creates the channel and speaks
	wake        []string
	content     string
	three, two  map[string]string
	turn        string // turnUserId
}

// cast are all who listen. ann speaks; men and both are mentioned, map and both are on the wake list, adm is
// Center's admin, pla is plain, str is a stranger to every channel.
var (
	cast   = []string{"ann", "men", "map", "both", "adm", "pla", "str"}
	inside = []string{"men", "map", "both", "adm", "pla"}
	others = []string{"men", "map", "both", "pla"}
)

const hiBoth = "hi <@men> <@both> <@str> <@ann>"

// is builds the outcomes of a scene from pairs: users, then their outcome.
func is(pairs ...string) map[string]string {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		for user := range strings.FieldsSeq(pairs[i]) {
			m[user] = pairs[i+1]
		}
	}
	return m
}

// but is m with changes.
func but(m map[string]string, pairs ...string) map[string]string {
	m = maps.Clone(m)
	maps.Copy(m, is(pairs...))
	return m
}

var scenes = func() []scene {
	const author, author2 = "skip author", "observer author"
	everyone := is("ann", author, "men map both adm pla", "wake everyone")
	mention := is("ann", author, "men both", "wake mention", "map adm pla", "observer not_addressed")
	silent := is("ann", author, "men map both adm pla", "observer silent")
	custom := is("ann", author, "map both", "wake wake_list", "men adm pla", "observer not_addressed")
	triage := is("ann", author, "map both", "wake on_duty", "men", "wake mention", "adm", "observer admin",
		"pla", "skip not_addressed")
	triage2 := is("ann", author2, "map both", "wake on_duty", "men pla", "observer not_addressed")
	direct := is("ann", author, "men", "wake direct")
	turn := func(holder string) map[string]string {
		return but(is("ann", author, "men map both adm pla", "observer not_your_turn"), holder, "wake turn")
	}
	two := func(m map[string]string) map[string]string { return but(m, "ann", author2) }
	duty := []string{"map", "both"}
	all := []scene{
		{"nobody is mentioned", "general", inside, nil, "hi", everyone, two(everyone), ""},
		{"some are mentioned", "general", inside, nil, hiBoth, mention, two(mention), ""},
		{
			"who is mentioned is not there", "general", inside, nil, "hi <@str> <@ann>", everyone,
			two(everyone), "",
		},
		{"a report", "report", inside, nil, hiBoth, silent, two(silent), ""},
		{
			"the admin is a member", "triage", inside, duty, hiBoth, triage,
			but(triage2, "adm", "observer not_addressed"), "",
		},
		{"the admin is a stranger", "triage", others, duty, hiBoth + "<@adm>", triage, triage2, ""},
		{
			"the admin is mentioned", "triage", inside, duty, hiBoth + "<@adm>",
			but(triage, "adm", "wake mention"), but(triage2, "adm", "observer not_addressed"), "",
		},
		{
			"the admin is on duty", "triage", others,
			[]string{"map", "both", "adm"},
			hiBoth,
			but(triage, "adm", "wake on_duty"), but(triage2, "adm", "wake on_duty"), "",
		},
		{
			"nobody is on duty", "triage",
			[]string{"adm", "pla"},
			nil, "hi",
			is("ann", author, "adm", "observer admin", "pla", "skip not_addressed"),
			is("ann", author2, "adm pla", "observer not_addressed"), "",
		},
		{
			"the author is on duty", "triage", others,
			[]string{"ann", "map", "both"},
			hiBoth, triage,
			triage2, "",
		},
		{"a wake list", "custom", inside, duty, hiBoth, custom, two(custom), ""},
		{
			"no wake list", "custom", inside, nil, hiBoth, but(custom, "map both", "observer not_addressed"),
			but(two(custom), "map both", "observer not_addressed"), "",
		},
		{"two", "dm", []string{"men"}, nil, "hi", direct, two(direct), ""},
	}
	for _, xType := range []string{"discuss", "work"} {
		all = append(all,
			scene{
				"the next in join order", xType, inside, nil, "hi <@str> <@ann>", turn("men"),
				two(turn("men")), "men",
			},
			scene{
				"the first mentioned", xType, inside, nil, "hi <@str> <@both> <@men>", turn("both"),
				two(turn("both")), "both",
			},
			scene{"alone", xType, nil, nil, "hi <@str>", is("ann", author), is("ann", author2), ""})
	}
	return all
}()

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
// the replays everything changes that a message is decided by: nothing of it shows.
func TestDelivery(t *testing.T) {
	t.Parallel()
	for _, bound := range bounds {
		for _, twoState := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, two-state %v", bound.name, twoState), func(t *testing.T) {
				if bound.name != map[bool]string{true: "no bound", false: "the loop guard"}[twoState] {
					dbtest.Long(t)
				}
				t.Parallel()
				delivers(t, bound, bound.scenes(twoState), twoState)
			})
		}
	}
}

func delivers(t *testing.T, bound bound, scenes []scene, twoState bool) {
	fake := centertest.New(t)
	fake.SetAdmin("adm@example.org", "adm")
	n := nodetest.Start(t, nodetest.Setup{Center: fake, TwoState: twoState})
	ann := n.User("ann")
	if bound.agent {
		n.Agents(t, "ann")
	}
	fence := n.Fence(t, cast...)
	ids := make([]string, len(scenes))
	for i, sc := range scenes {
		ids[i] = ann.Makes(t, sc.xType, sc.members, sc.wake).Channel.ID
		if bound.settings != nil {
			nodetest.Call[nodetest.Created](t, ann, 200, "PATCH", "/api/channels/"+ids[i], bound.settings)
		}
		if bound.guarded {
			ann.Says(t, ids[i], "the one message that may wake")
		}
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
		posts[i] = nodetest.Call[nodetest.FullPost](t, ann, 201, "POST", "/api/channels/"+ids[i]+"/messages",
			bound.post(sc.content))
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
		wantWakeups(t, sc, posts[i], twoState)
		upset(t, ann, ids[i], sc)
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
		p := u.Poll(t, "limit=7&wait=5&after="+after+"&"+query)
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
func wantHistory(t *testing.T, u *nodetest.User, scenes []scene, posts []nodetest.FullPost, twoState bool) {
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
	t *testing.T, u *nodetest.User, from string, scenes []scene, posts []nodetest.FullPost, twoState bool,
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
	t *testing.T, when, key string, frames []ssetest.Frame, scenes []scene, posts []nodetest.FullPost,
	twoState bool,
) {
	t.Helper()
	name, query, _ := strings.Cut(key, "?")
	if query != "" {
		query = "?" + query
	}
	for i, sc := range scenes {
		got := slices.DeleteFunc(nodetest.InChannel(frames, posts[i].Message.ChannelID),
			func(f ssetest.Frame) bool { return f.Event != "message.created" })
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
