package handlers_test

import (
	"maps"
	"strings"
	"testing"
)

// A bound is a reason for which the messages of all scenes may wake fewer, with what changes by it.
type bound struct {
	name     string
	agent    bool   // ann is an agent
	settings body   // of every channel that can have them
	guarded  bool   // ann has used up what the loop guard allows
	more     body   // beside the content
	fits     string // the x-types that can be bound in this way
	becomes  func(sc scene, user, outcome string) string
}

const (
	everyXType = "general report triage custom dm discuss work"
	manyWoken  = "general report triage custom"
)

var bounds = []bound{
	{name: "no bound", fits: everyXType, becomes: as},
	{name: "an agent", agent: true, fits: everyXType, becomes: as},
	{name: "a notice", more: body{"wake": "none"}, fits: everyXType, becomes: all("notice")},
	{name: "an agent's notice", agent: true, settings: body{"loopLimit": 1}, guarded: true, more: body{"wake": "none"}, fits: everyXType, becomes: all("notice")},
	{name: "the loop guard", agent: true, settings: body{"loopLimit": 1}, guarded: true, fits: "general triage custom dm discuss work", becomes: all("loop_guard")},
	{name: "the guard with a report", agent: true, settings: body{"loopLimit": 1}, guarded: true, fits: "report", becomes: as},
	{name: "the guard of a human", settings: body{"loopLimit": 1}, guarded: true, fits: everyXType, becomes: as},
	{name: "the guard is off", agent: true, settings: body{"loopLimit": 0}, guarded: true, fits: everyXType, becomes: as},
	{name: "mentions of humans", settings: body{"humanWakes": "mentions", "agentWakes": "none"}, fits: manyWoken, becomes: mentions},
	{name: "mentions of agents", agent: true, settings: body{"agentWakes": "mentions"}, fits: manyWoken, becomes: mentions},
	{name: "no wakes of agents", agent: true, settings: body{"agentWakes": "none"}, fits: manyWoken, becomes: none},
	{name: "the guard before a setting", agent: true, settings: body{"loopLimit": 1, "agentWakes": "none"}, guarded: true, fits: "general triage custom", becomes: all("loop_guard")},
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

// scenes are the scenes that can be bound, with what the bound makes of them.
func (b bound) scenes(twoState bool) (bounded []scene) {
	for _, sc := range scenes {
		if !strings.Contains(" "+b.fits+" ", " "+sc.xType+" ") {
			continue
		}
		became := map[string]string{}
		for user, outcome := range sc.wants(twoState) {
			became[user] = b.becomes(sc, user, outcome)
		}
		sc.three, sc.two = became, became
		if b.more["wake"] != nil {
			sc.turn = "" // a notice moves no turn
		}
		bounded = append(bounded, sc)
	}
	return bounded
}

func (b bound) post(content string) body {
	all := body{"content": content}
	maps.Copy(all, b.more)
	return all
}

// agents makes users agents.
func (n *node) agents(t *testing.T, users ...string) {
	t.Helper()
	for _, user := range users {
		n.exec(t, `INSERT INTO users (id, kind) VALUES ($1, 'agent') ON CONFLICT (id) DO UPDATE SET kind = 'agent'`, user)
	}
}
