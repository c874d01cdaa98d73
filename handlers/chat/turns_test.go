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
		{"to the next after the author", held, "bob", "", "carol", Turn{Holder: "carol"}, "carol"},
		{"after the author, not after the holder", held, "alice", "", "dave", Turn{Holder: "dave"}, "dave"},
		{"to the first mentioned", held, "bob", "dave", "carol", Turn{Holder: "dave"}, "dave"},
		{"to the one who holds it", held, "alice", "", "bob", held, "bob"},
		{"a mention of the holder wakes them", held, "alice", "bob", "carol", held, "bob"},
		{"a mention of oneself is none", held, "bob", "bob", "carol", Turn{Holder: "carol"}, "carol"},
		{"alone nobody wakes", held, "bob", "", "", held, ""},
		{"alone nobody wakes, in a ring that closes on them", held, "bob", "bob", "bob", held, ""},
		{"a turn that was lost is found", Turn{}, "bob", "", "", held, ""},
		{"paused nobody wakes", Turn{"bob", true}, "bob", "", "carol", Turn{"bob", true}, ""},
		{"paused a mention wakes nobody", Turn{"bob", true}, "bob", "carol", "carol", Turn{"bob", true}, ""},
	} {
		after, wakes := tt.before.AfterMessage(tt.author, tt.mentioned, tt.next)
		if after != tt.after || wakes != tt.wakes {
			t.Errorf("%s: got %+v that wakes %q, want %+v that wakes %q", tt.rule, after, wakes, tt.after, tt.wakes)
		}
	}
}

func TestApply(t *testing.T) {
	t.Parallel()
	held, paused := Turn{Holder: "bob"}, Turn{"bob", true}
	for _, tt := range []struct {
		rule         string
		before       Turn
		action       Action
		caller       string
		target, next string
		after        Turn
	}{
		{"the holder passes to the next", held, Pass, "bob", "", "carol", Turn{Holder: "carol"}},
		{"any member passes, to the next after the holder", held, Pass, "alice", "", "carol", Turn{Holder: "carol"}},
		{"alone nothing is passed", held, Pass, "bob", "", "", held},
		{"paused it is passed", paused, Pass, "bob", "", "carol", Turn{"carol", true}},
		{"a member takes it", held, Take, "dave", "", "carol", Turn{Holder: "dave"}},
		{"the holder has it already", held, Take, "bob", "", "carol", held},
		{"paused it is taken", paused, Take, "dave", "", "carol", Turn{"dave", true}},
		{"a member gives it", held, Give, "dave", "alice", "carol", Turn{Holder: "alice"}},
		{"given to the holder", held, Give, "dave", "bob", "carol", held},
		{"given to nobody", held, Give, "dave", "", "carol", held},
		{"only give has a target", held, Take, "dave", "alice", "carol", Turn{Holder: "dave"}},
		{"a member pauses it", held, Pause, "dave", "", "carol", paused},
		{"it is paused already", paused, Pause, "dave", "", "carol", paused},
		{"a member resumes it, where it was", paused, Resume, "dave", "", "carol", held},
		{"it goes on already", held, Resume, "dave", "", "carol", held},
		{"a holder who leaves passes it on", held, Leave, "bob", "", "carol", Turn{Holder: "carol"}},
		{"paused too", paused, Leave, "bob", "", "carol", Turn{"carol", true}},
		{"another who leaves does not", held, Leave, "dave", "", "carol", held},
		{"the last one leaves it to nobody", held, Leave, "bob", "", "", Turn{}},
		{"the last one leaves it to nobody, in a ring that closes on them", held, Leave, "bob", "", "bob", Turn{}},
		{"what is no action changes nothing", held, "steal", "dave", "alice", "carol", held},
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
		{"who joins an empty channel holds the turn", Turn{}, Turn{Holder: "dave"}},
		{"it stays paused", Turn{Paused: true}, Turn{"dave", true}},
		{"else it is as it was", Turn{Holder: "bob"}, Turn{Holder: "bob"}},
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
		{"pass can be asked for", "pass", true},
		{"take can be asked for", "take", true},
		{"give can be asked for", "give", true},
		{"pause can be asked for", "pause", true},
		{"resume can be asked for", "resume", true},
		{"leave is what a member does, not what a turn is asked", "leave", false},
		{"nothing is no action", "", false},
		{"actions are lower-case", "Pass", false},
	} {
		got, ok := ParseAction(tt.text)
		if ok != tt.ok || ok && string(got) != tt.text || !ok && got != "" {
			t.Errorf("%s: got %q, %t, want %t", tt.rule, got, ok, tt.ok)
		}
	}
}
