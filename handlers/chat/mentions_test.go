package chat

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMentions(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		rule, text string
		want       []string
	}{
		{"an empty text mentions nobody", "", nil},
		{"plain text mentions nobody", "nobody, not even alice@example.org", nil},
		{"an id between <@ and > is a mention", "<@alice>", []string{"alice"}},
		{
			"a mention may have text around it", "hi <@alice>, <@bob@example.org>!",
			[]string{"alice", "bob@example.org"},
		},
		{"each mention counts once, at its first place", "<@bob> <@alice> <@bob>", []string{"bob", "alice"}},
		{"user.id: is the long form of a mention", "<@user.id:alice>", []string{"alice"}},
		{"both forms are the same mention", "<@user.id:alice><@alice>", []string{"alice"}},
		{"the long form is not nested", "<@user.id:user.id:alice>", nil},
		{"a mention by name is not a mention by id", "<@user.name:Alice>", nil},
		{"an id must not be empty", "<@>", nil},
		{"an id must not be empty in the long form", "<@user.id:>", nil},
		{"an id must not contain a space", "<@ alice>", nil},
		{"a mention may begin inside text that is not a mention", "<@al<@bob>", []string{"bob"}},
		{"a mention begins with the second <", "<<@bob>>", []string{"bob"}},
		{"a mention must be closed", "<@alice", nil},
		{"a < ends an unclosed mention", "<@alice<b>", nil},
		{
			"an id of 128 characters is a mention", "<@" + strings.Repeat("x", 128) + ">",
			[]string{strings.Repeat("x", 128)},
		},
		{"an id of 129 characters is too long", "<@" + strings.Repeat("x", 129) + ">", nil},
	} {
		if diff := cmp.Diff(tt.want, Mentions(tt.text)); diff != "" {
			t.Errorf("%s: %q (-want +got):\n%s", tt.rule, tt.text, diff)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ü", 128)
	for _, tt := range []struct {
		rule, text string
		want       []string
	}{
		{"plain text asks for no name", "Alice Smith", nil},
		{
			"a name may contain spaces, punctuation and any script", "<@user.name:Zoë O'Neill: 李 👩‍🚀>",
			[]string{"Zoë O'Neill: 李 👩‍🚀"},
		},
		{
			"each mention counts once, at its first place", "<@user.name:B> <@user.name:A> <@user.name:B>",
			[]string{"B", "A"},
		},
		{"spaces around a name are part of it", "<@user.name: Bob >", []string{" Bob "}},
		{"names are case-sensitive", "<@user.name:bob> <@user.name:Bob>", []string{"bob", "Bob"}},
		{"a mention by id asks for no name", "<@alice> <@user.id:alice>", nil},
		{"a name must not be empty", "<@user.name:>", nil},
		{"a name of 128 characters is allowed", "<@user.name:" + long + ">", []string{long}},
		{"a name of 129 characters is too long", "<@user.name:" + long + "x>", nil},
		{"a name must not contain <", "<@user.name:A<b>", nil},
		{"the first > closes a name", "<@user.name:A>b>", []string{"A"}},
		{"a name must not contain NUL", "<@user.name:A\x00>", nil},
		{"a name must not contain a line break", "<@user.name:A\nB>", nil},
		{"a name must not contain a control character beyond ASCII", "<@user.name:A\u0085>", nil},
		{"a name must be UTF-8", "<@user.name:A\xff>", nil},
		{"a mention by name must be closed", "<@user.name:A", nil},
		{
			"a mention by name may begin inside text that is not a mention", "<@user.name:<@user.name:A>",
			[]string{"A"},
		},
	} {
		if diff := cmp.Diff(tt.want, Names(tt.text)); diff != "" {
			t.Errorf("%s: %q (-want +got):\n%s", tt.rule, tt.text, diff)
		}
	}
}

func TestRewrite(t *testing.T) {
	t.Parallel()
	resolved := map[string]string{
		"Alice Smith": "alice", "bob": "bob", "Bad": "no id", "Empty": "", "": "nobody", "A\n": "alice",
	}
	for _, tt := range []struct{ rule, text, want string }{
		{"plain text stays unchanged", "a < b > c @d <e> \xff\x00", "a < b > c @d <e> \xff\x00"},
		{"white space at both ends stays unchanged", " \n<@alice>\t ", " \n<@alice>\t "},
		{"a resolved name becomes an id", "hi <@user.name:Alice Smith>!", "hi <@alice>!"},
		{"every occurrence of a name becomes an id", "<@user.name:bob><@user.name:bob>", "<@bob><@bob>"},
		{"an unresolved name stays unchanged", "<@user.name:Carol>", "<@user.name:Carol>"},
		{
			"a name that resolves to an invalid id stays unchanged", "<@user.name:Bad> <@user.name:Empty>",
			"<@user.name:Bad> <@user.name:Empty>",
		},
		{
			"an invalid name is not resolved", "<@user.name:> <@user.name:A\n>",
			"<@user.name:> <@user.name:A\n>",
		},
		{"a name without user.name: is not resolved", "<@Alice Smith>", "<@Alice Smith>"},
		{"the long form of an id becomes the short one", "<@user.id:alice>", "<@alice>"},
		{"the short form stays unchanged", "<@alice>", "<@alice>"},
		{"an invalid id stays unchanged", "<@user.id:no id>", "<@user.id:no id>"},
		{
			"a mention inside text that is not a mention becomes an id", "<@user.name:<@user.name:bob>>",
			"<@user.name:<@bob>>",
		},
		{"an unclosed mention stays unchanged", "<@user.name:bob", "<@user.name:bob"},
	} {
		if got := Rewrite(tt.text, resolved); got != tt.want {
			t.Errorf("%s: %q: got %q, want %q", tt.rule, tt.text, got, tt.want)
		}
	}
}

// The syntax of a mention, written in a different way than in the code under test.
var (
	angled = regexp.MustCompile(`<@[^<>]*>`)
	idForm = regexp.MustCompile(`^[A-Za-z0-9._@-]{1,128}$`)
)

func FuzzMentions(f *testing.F) {
	f.Add("hi <@alice> <@user.id:bob> <@", "Bob", "bob")
	f.Add("<@user.name:Al<@user.name:Bob>>", "Bob", "user.id:x")
	f.Add("<@user.name:Bob><@user.name:Ann> <@bob>", "Bob", "x><@user.name:Bob")
	f.Add(" <@user.name:Bob> and <@user.id:bob>\n", "Bob", "bob")
	f.Add("<<@@>@>\x00\xff<@user.name:\xff>", "\xff", "@")
	f.Fuzz(func(t *testing.T, text, name, id string) {
		resolved := map[string]string{name: id}
		got := Rewrite(text, resolved)
		if again := Rewrite(got, resolved); again != got {
			t.Errorf("second Rewrite: got %q, want %q", again, got)
		}
		outside := angled.Split(got, -1)
		if want := angled.Split(text, -1); !slices.Equal(outside, want) {
			t.Errorf("text outside mentions: got %q, want %q", outside, want)
		}
		want := Mentions(text)
		after := Mentions(got)
		asked := Names(text)
		if slices.Contains(asked, name) && idForm.MatchString(id) {
			asked = slices.DeleteFunc(asked, func(s string) bool { return s == name })
			if !slices.Contains(want, id) {
				want = append(want, id)
			}
		}
		slices.Sort(want)
		if sorted := slices.Sorted(slices.Values(after)); !slices.Equal(sorted, want) {
			t.Errorf("mentions of the result: got %q, want %q", sorted, want)
		}
		if left := Names(got); !slices.Equal(left, asked) {
			t.Errorf("unresolved names: got %q, want %q", left, asked)
		}
		for i, id := range after {
			valid := idForm.MatchString(id) && ValidID(id)
			if !valid || slices.Contains(after[:i], id) || !strings.Contains(got, "<@"+id+">") {
				t.Errorf("%q is not a valid id, is a duplicate, or is not in %q", id, got)
			}
		}
	})
}
