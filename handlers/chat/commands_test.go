package chat

import (
	"strings"
	"testing"
	"unicode"
)

func TestParse(t *testing.T) {
	t.Parallel()
	post := func(content string) Command { return Command{Content: content} }
	give := func(user string) Command { return Command{Action: Give, UserID: user} }
	for _, tt := range []struct {
		rule, text string
		want       Command
	}{
		{"nothing is nothing", "", Command{}},
		{"text is posted", "hello /pass", post("hello /pass")},
		{"a command starts at the first byte", " /pass", post(" /pass")},
		{"a command starts at the first byte, not after a line", "\n/pass", post("\n/pass")},
		{"a lone slash is text", "/", post("/")},
		{"a slash and a space is text", "/ pass", post("/ pass")},
		{"a slash and a digit is text", "/1", post("/1")},
		{"a slash and what is no UTF-8 is text", "/\xff", post("/\xff")},
		{"two slashes are one", "//pass", post("/pass")},
		{"two slashes are one, whatever follows", "// text", post("/ text")},
		{"three slashes are two", "///", post("//")},
		{"only the first byte is dropped", "//a //b", post("/a //b")},
		{"pass", "/pass", Command{Action: Pass}},
		{"pause", "/pause", Command{Action: Pause}},
		{"resume", "/resume", Command{Action: Resume}},
		{"go", "/go", Command{Go: true}},
		{"stop", "/stop <@bob>", Command{Stop: true, UserID: "bob"}},
		{"help", "/help", Command{Help: true}},
		{"white space is no argument", "/pass \t\r\n", Command{Action: Pass}},
		{"turn takes a mention", "/turn <@bob@example.org>", give("bob@example.org")},
		{"turn takes the long form", "/turn <@user.id:bob>", give("bob")},
		{"turn takes an @ and an id", "/turn @bob", give("bob")},
		{"turn takes an id", "/turn bob", give("bob")},
		{"turn takes an id that begins with an @", "/turn @@bob", give("@bob")},
		{"a mention is the id as it is", "/turn <@@bob>", give("@bob")},
		{"white space around the user is none of it", "/turn \n bob ", give("bob")},
		{"me is posted as written", "/me  waves\nat <@bob> ", post("/me  waves\nat <@bob> ")},
	} {
		got, err := Parse(tt.text)
		if got != tt.want || err != nil {
			t.Errorf("%s: %q: got %+v and %v, want %+v", tt.rule, tt.text, got, err, tt.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	const (
		unknown = "is not a command. The commands are /pass, /turn @USER, /pause, /resume, /stop @USER, " +
			"/go, /me TEXT, /help. To post a message that begins with a slash, write two slashes"
		oneUser = "must name one user: /turn <@ID>, /turn @ID or /turn ID"
		noName  = "names a user whose name could not be resolved"
	)
	for _, tt := range []struct{ rule, text, want string }{
		{"an unknown command gets the list of commands", "/leave", unknown},
		{"names are not cut short", "/pas", unknown},
		{"names go up to white space", "/passed", unknown},
		{"names go up to white space, not to a mark", "/pass!", unknown},
		{"a path is no command", "/etc/passwd", unknown},
		{"names are lower-case", "/Pass", unknown},
		{"a letter is one of any script", "/зфыы", unknown},
		{"pass takes nothing", "/pass @bob", "has text after /pass, which takes no argument"},
		{"pause takes nothing", "/pause now", "has text after /pause, which takes no argument"},
		{"resume takes nothing", "/resume\nnow", "has text after /resume, which takes no argument"},
		{"help takes nothing", "/help turn", "has text after /help, which takes no argument"},
		{"me needs a text", "/me", "has no text after /me; write /me TEXT"},
		{"white space is no text", "/me \n", "has no text after /me; write /me TEXT"},
		{"turn needs a user", "/turn", oneUser},
		{"an @ is no user", "/turn @", oneUser},
		{"turn takes one user", "/turn bob carol", oneUser},
		{"turn takes one mention", "/turn <@bob> <@carol>", oneUser},
		{"turn takes a mention alone", "/turn <@bob>, please", oneUser},
		{"turn takes no mention behind an @", "/turn @<@bob>", oneUser},
		{"an id of 129 is none", "/turn " + strings.Repeat("x", 129), oneUser},
		{"a mention that is none", "/turn <@b b>", oneUser},
		{"a name that nobody resolved", "/turn <@user.name:Bob Smith>", noName},
		{"what is not even a name", "/turn <@user.name:>", oneUser},
	} {
		got, err := Parse(tt.text)
		if err == nil || err.Error() != tt.want || got != (Command{}) {
			t.Errorf("%s: %q: got %+v and %v, want %q", tt.rule, tt.text, got, err, tt.want)
		}
	}
}

// The list of commands has every command, and no others.
func TestHelp(t *testing.T) {
	t.Parallel()
	told := map[string]bool{}
	for line := range strings.Lines(Help()) {
		name, does, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		if _, err := Parse(name); err != nil || does == "" {
			t.Errorf("%q: got %v, want a command as it can be typed, and what it does", line, err)
		}
		told[strings.Fields(name)[0]] = true
	}
	for _, name := range []string{"/pass", "/turn", "/pause", "/resume", "/stop", "/go", "/me", "/help"} {
		if !told[name] {
			t.Errorf("got no line for %s", name)
		}
	}
	if len(told) != 8 {
		t.Errorf("got %v, want 8 commands", told)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"", "/", "//", "// a", "/pass", "/pass now", "/turn <@bob>",
		"/turn <@user.name:B>", "/stop @bob", "/go", "/me waves", " /help", "/\xff", "/no such",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := Parse(text)
		set := 0
		content, action := got.Content != "", got.Action != ""
		for _, is := range []bool{err != nil, content, action, got.Stop, got.Go, got.Help} {
			if is {
				set++
			}
		}
		if set != 1 && text != "" {
			t.Errorf("%q: got %+v and %v, want one of them", text, got, err)
		}
		if err != nil && got != (Command{}) {
			t.Errorf("%q: got %+v beside %v", text, got, err)
		}
		if names := got.Action == Give || got.Stop; names != ValidID(got.UserID) ||
			!names && got.UserID != "" {
			t.Errorf("%q: got user %q with %q", text, got.UserID, got.Action)
		}
		if _, ok := ParseAction(string(got.Action)); ok != (got.Action != "") {
			t.Errorf("%q: got %q, which cannot be asked for", text, got.Action)
		}
		if got.Content != "" && got.Content != text &&
			(!strings.HasPrefix(text, "//") || "/"+got.Content != text) {
			t.Errorf("%q: got content %q", text, got.Content)
		}
		if got.Content != text && !strings.HasPrefix(text, "/") {
			t.Errorf("%q: got %+v without a slash", text, got)
		}
		if letter := strings.IndexFunc(text, unicode.IsLetter); got.Content == "" && text != "" &&
			letter != 1 {
			t.Errorf("%q: got %+v and %v without a letter behind the slash", text, got, err)
		}
		if escaped, err := Parse("/" + text); strings.HasPrefix(text, "/") &&
			(escaped != Command{Content: text} || err != nil) {
			t.Errorf("%q escaped: got %+v and %v", text, escaped, err)
		}
	})
}
