package chat

import (
	"testing"
)

func TestAfterMessage(t *testing.T) {
	t.Parallel()
	held := Turn{Holder: "bob"}
	for _, tt := range []struct {
		rule                    string
		before                  Turn
		author, mentioned, next string
		after                   Turn
		wakes                   string
	}{
		{
			"the turn goes to the next after the author", held, "bob", "", "carol",
			Turn{Holder: "carol"},
			"carol",
		},
		{
			"the next after the author gets the turn, not the next after the holder", held,
			"alice", "", "dave",
			Turn{Holder: "dave"},
			"dave",
		},
		{
			"the first mentioned member gets the turn", held, "bob", "dave", "carol",
			Turn{Holder: "dave"},
			"dave",
		},
		{"the next after the author may be the holder", held, "alice", "", "bob", held, "bob"},
		{"a mention of the holder wakes the holder", held, "alice", "bob", "carol", held, "bob"},
		{
			"a mention of the author does not count", held, "bob", "bob", "carol",
			Turn{Holder: "carol"},
			"carol",
		},
		{"a message of the only member wakes nobody", held, "bob", "", "", held, ""},
		{
			"a message of the only member wakes nobody, if the next is the author", held, "bob", "bob",
			"bob", held, "",
		},
		{"a turn without a holder goes to the only member", Turn{}, "bob", "", "", held, ""},
		{
			"while paused, a message wakes nobody",
			Turn{"bob", true},
			"bob", "", "carol",
			Turn{"bob", true},
			"",
		},
		{
			"while paused, a mention wakes nobody",
			Turn{"bob", true},
			"bob", "carol", "carol",
			Turn{"bob", true},
			"",
		},
	} {
		after, wakes := tt.before.AfterMessage(tt.author, tt.mentioned, tt.next)
		if after != tt.after || wakes != tt.wakes {
			t.Errorf("%s: got %+v that wakes %q, want %+v that wakes %q", tt.rule, after, wakes,
				tt.after, tt.wakes)
		}
	}
}

func TestApply(t *testing.T) {
	t.Parallel()
	held := Turn{Holder: "bob"}
	paused := Turn{"bob", true}
	for _, tt := range []struct {
		rule         string
		before       Turn
		action       Action
		caller       string
		target, next string
		after        Turn
	}{
		{
			"the holder passes the turn to the next member", held, Pass, "bob", "", "carol",
			Turn{Holder: "carol"},
		},
		{
			"any member can pass the turn to the next after the holder", held, Pass, "alice", "", "carol",
			Turn{Holder: "carol"},
		},
		{"the only member cannot pass the turn", held, Pass, "bob", "", "", held},
		{"the turn can be passed while paused", paused, Pass, "bob", "", "carol", Turn{"carol", true}},
		{"a member takes the turn", held, Take, "dave", "", "carol", Turn{Holder: "dave"}},
		{"the holder takes the turn without effect", held, Take, "bob", "", "carol", held},
		{"the turn can be taken while paused", paused, Take, "dave", "", "carol", Turn{"dave", true}},
		{"any member can give the turn", held, Give, "dave", "alice", "carol", Turn{Holder: "alice"}},
		{"giving the turn to the holder has no effect", held, Give, "dave", "bob", "carol", held},
		{"giving the turn to nobody has no effect", held, Give, "dave", "", "carol", held},
		{"only give uses the target", held, Take, "dave", "alice", "carol", Turn{Holder: "dave"}},
		{"a member pauses turns", held, Pause, "dave", "", "carol", paused},
		{"pausing twice has no effect", paused, Pause, "dave", "", "carol", paused},
		{"a member resumes turns with the same holder", paused, Resume, "dave", "", "carol", held},
		{"resuming twice has no effect", held, Resume, "dave", "", "carol", held},
		{"a holder who leaves passes the turn on", held, Leave, "bob", "", "carol", Turn{Holder: "carol"}},
		{
			"a holder who leaves passes the turn on while paused", paused, Leave, "bob", "", "carol",
			Turn{"carol", true},
		},
		{"another member who leaves does not move the turn", held, Leave, "dave", "", "carol", held},
		{"the last member leaves the turn to nobody", held, Leave, "bob", "", "", Turn{}},
		{
			"the last member leaves the turn to nobody, if the next is the caller", held, Leave, "bob", "",
			"bob",
			Turn{},
		},
		{"an unknown action changes nothing", held, "steal", "dave", "alice", "carol", held},
	} {
		after, changed := tt.before.Apply(tt.action, tt.caller, tt.target, tt.next)
		if after != tt.after || changed != (tt.before != tt.after) {
			t.Errorf("%s: got %+v, changed %t, want %+v", tt.rule, after, changed, tt.after)
		}
	}
}

func TestJoin(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		rule          string
		before, after Turn
	}{
		{"the first member of an empty channel gets the turn", Turn{}, Turn{Holder: "dave"}},
		{"turns stay paused when a member joins", Turn{Paused: true}, Turn{"dave", true}},
		{"another member who joins does not change the turn", Turn{Holder: "bob"}, Turn{Holder: "bob"}},
	} {
		if got := tt.before.Join("dave"); got != tt.after {
			t.Errorf("%s: got %+v, want %+v", tt.rule, got, tt.after)
		}
	}
}

func TestParseAction(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		rule, text string
		ok         bool
	}{
		{"pass can be requested", "pass", true},
		{"take can be requested", "take", true},
		{"give can be requested", "give", true},
		{"pause can be requested", "pause", true},
		{"resume can be requested", "resume", true},
		{"leave cannot be requested", "leave", false},
		{"an empty text is not an action", "", false},
		{"actions must be lower-case", "Pass", false},
	} {
		got, ok := ParseAction(tt.text)
		if ok != tt.ok || ok && string(got) != tt.text || !ok && got != "" {
			t.Errorf("%s: got %q, %t, want %t", tt.rule, got, ok, tt.ok)
		}
	}
}
