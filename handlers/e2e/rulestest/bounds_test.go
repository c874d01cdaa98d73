package rulestest_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"fabric-guild/handlers/e2e/nodetest"
)

// A bound is a reason for which the messages of all scenes may wake fewer, with what changes by it.
type bound struct {
	name     string
	agent    bool          // ann is an agent
	settings nodetest.Body // of every channel that can have them
	guarded  bool          // ann has used up what the loop guard allows
	more     nodetest.Body // beside the content
	fits     string        // the x-types that can be bound in this way
	becomes  func(sc scene, user, outcome string) string
}

const (
	everyXType = "general report triage custom dm discuss work"
	manyWoken  = "general report triage custom"
)

var bounds = []bound{
	{name: "no bound", fits: everyXType, becomes: as},
	{name: "an agent", agent: true, fits: everyXType, becomes: as},
	{name: "a notice", more: nodetest.Body{"wake": "none"}, fits: everyXType, becomes: all("notice")},
	{
		name: "an agent's notice", agent: true, settings: nodetest.Body{"loopLimit": 1}, guarded: true,
		more: nodetest.Body{"wake": "none"}, fits: everyXType, becomes: all("notice"),
	},
	{
		name: "the loop guard", agent: true, settings: nodetest.Body{"loopLimit": 1}, guarded: true,
		fits: "general triage custom dm discuss work", becomes: all("loop_guard"),
	},
	{
		name: "the guard with a report", agent: true, settings: nodetest.Body{"loopLimit": 1}, guarded: true,
		fits: "report", becomes: as,
	},
	{
		name: "the guard of a human", settings: nodetest.Body{"loopLimit": 1}, guarded: true,
		fits:    everyXType,
		becomes: as,
	},
	{
		name: "the guard is off", agent: true, settings: nodetest.Body{"loopLimit": 0}, guarded: true,
		fits: everyXType, becomes: as,
	},
	{
		name: "mentions of humans", settings: nodetest.Body{"humanWakes": "mentions", "agentWakes": "none"},
		fits: manyWoken, becomes: mentions,
	},
	{
		name: "mentions of agents", agent: true, settings: nodetest.Body{"agentWakes": "mentions"},
		fits: manyWoken, becomes: mentions,
	},
	{
		name: "no wakes of agents", agent: true, settings: nodetest.Body{"agentWakes": "none"},
		fits:    manyWoken,
		becomes: none,
	},
	{
		name: "the guard before a setting", agent: true,
		settings: nodetest.Body{"loopLimit": 1, "agentWakes": "none"}, guarded: true,
		fits: "general triage custom", becomes: all("loop_guard"),
	},
}

func as(_ scene, _, outcome string) string { return outcome }

// all is for bounds by which everyone who hears a message observes it.
func all(reason string) func(scene, string, string) string {
	return func(_ scene, _, outcome string) string {
		if strings.HasPrefix(outcome, "skip ") || outcome == "observer author" {
			return outcome
		}
		return "observer " + reason
	}
}

func mentions(sc scene, user, outcome string) string {
	mentioned := strings.Contains(sc.content, "<@"+user+">")
	if strings.HasPrefix(outcome, "wake ") && outcome != "wake on_duty" && !mentioned {
		return "observer not_addressed"
	}
	return outcome
}

func none(_ scene, _, outcome string) string {
	if strings.HasPrefix(outcome, "wake ") {
		return "observer not_addressed"
	}
	return outcome
}

// A boundScene is a scene whose message has a bound.
type boundScene struct {
	scene
	bound bound
	guild string // of its bound alone: two users have only one dm in a guild
}

// boundScenes returns the scenes of the bounds with this kind of author, with what each bound makes of them.
// With -short it returns those of one bound: agents are bound by the loop guard, humans are not.
func boundScenes(agent, twoState bool) (all []boundScene) {
	for i, b := range bounds {
		if b.agent != agent || testing.Short() && b.name != "no bound" && b.name != "the loop guard" {
			continue
		}
		for _, sc := range b.scenes(twoState) {
			all = append(all, boundScene{sc, b, fmt.Sprint("g", i)})
		}
	}
	return all
}

// scenes returns the scenes that can be bound, with what the bound makes of them.
func (b bound) scenes(twoState bool) (bounded []scene) {
	for _, sc := range scenes {
		if !strings.Contains(" "+b.fits+" ", " "+sc.xType+" ") {
			continue
		}
		became := map[string]string{}
		for user, outcome := range sc.wants(twoState) {
			became[user] = b.becomes(sc, user, outcome)
		}
		sc.name = b.name + ", " + sc.name
		sc.three, sc.two = became, became
		if b.more["wake"] != nil {
			sc.turn = "" // a notice moves no turn
		}
		bounded = append(bounded, sc)
	}
	return bounded
}

// open creates the channel of the scene, and returns its id.
func (sc boundScene) open(t *testing.T, ann *nodetest.User) string {
	t.Helper()
	members := append([]string{}, sc.members...) // never null
	b := nodetest.Body{"guildId": sc.guild, "xType": sc.xType, "memberUserIds": members}
	if sc.xType != "dm" {
		b["name"] = sc.xType
	}
	if sc.wake != nil {
		b["wakeUserIds"] = sc.wake
	}
	id := nodetest.Call[nodetest.Created](t, ann, 201, "POST", "/api/channels", b).Channel.ID
	if sc.bound.settings != nil {
		nodetest.Call[nodetest.Created](t, ann, 200, "PATCH", "/api/channels/"+id, sc.bound.settings)
	}
	if sc.bound.guarded {
		ann.Says(t, id, "the one message that may wake")
	}
	return id
}

// post posts the message of the scene in its channel.
func (sc boundScene) post(t *testing.T, ann *nodetest.User, channel string) nodetest.FullPost {
	t.Helper()
	b := nodetest.Body{"content": sc.content}
	maps.Copy(b, sc.bound.more)
	return nodetest.Call[nodetest.FullPost](t, ann, 201, "POST", nodetest.PathOf(channel), b)
}
