package rulestest_test

import (
	"maps"
	"strings"
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
