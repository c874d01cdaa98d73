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
		{"nothing mentions nobody", "", nil},
		{"text mentions nobody", "nobody, not even alice@example.org", nil},
		{"an id in <@ and > is a mention", "<@alice>", []string{"alice"}},
		{"text may stand around it", "hi <@alice>, <@bob@example.org>!", []string{"alice", "bob@example.org"}},
		{"each comes once, where it came first", "<@bob> <@alice> <@bob>", []string{"bob", "alice"}},
		{"user.id: is the long form", "<@user.id:alice>", []string{"alice"}},
		{"both forms are the same mention", "<@user.id:alice><@alice>", []string{"alice"}},
		{"the long form is not nested", "<@user.id:user.id:alice>", nil},
		{"a name is no id", "<@user.name:Alice>", nil},
		{"an id is not empty", "<@>", nil},
		{"an id is not empty in the long form", "<@user.id:>", nil},
		{"no space", "<@ alice>", nil},
		{"a mention begins inside of what is none", "<@al<@bob>", []string{"bob"}},
		{"a mention begins with the second <", "<<@bob>>", []string{"bob"}},
		{"a mention is closed", "<@alice", nil},
		{"a < ends what was not closed", "<@alice<b>", nil},
		{"128 is the longest", "<@" + strings.Repeat("x", 128) + ">", []string{strings.Repeat("x", 128)}},
		{"129 is too long", "<@" + strings.Repeat("x", 129) + ">", nil},
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
		{"text asks for nothing", "Alice Smith", nil},
		{"a name may hold spaces, marks and any script", "<@user.name:Zoë O'Neill: 李 👩‍🚀>", []string{"Zoë O'Neill: 李 👩‍🚀"}},
		{"each comes once, where it came first", "<@user.name:B> <@user.name:A> <@user.name:B>", []string{"B", "A"}},
		{"spaces around it are part of it", "<@user.name: Bob >", []string{" Bob "}},
		{"names differ by case", "<@user.name:bob> <@user.name:Bob>", []string{"bob", "Bob"}},
		{"an id is not asked for", "<@alice> <@user.id:alice>", nil},
		{"a name is not empty", "<@user.name:>", nil},
		{"128 characters are the longest", "<@user.name:" + long + ">", []string{long}},
		{"129 characters are too long", "<@user.name:" + long + "x>", nil},
		{"no <", "<@user.name:A<b>", nil},
		{"no > but the one that closes", "<@user.name:A>b>", []string{"A"}},
		{"no NUL", "<@user.name:A\x00>", nil},
		{"no line break", "<@user.name:A\nB>", nil},
		{"no control character beyond ASCII", "<@user.name:A\u0085>", nil},
		{"UTF-8", "<@user.name:A\xff>", nil},
		{"a name is closed", "<@user.name:A", nil},
		{"a name begins inside of what is none", "<@user.name:<@user.name:A>", []string{"A"}},
	} {
		if diff := cmp.Diff(tt.want, Names(tt.text)); diff != "" {
			t.Errorf("%s: %q (-want +got):\n%s", tt.rule, tt.text, diff)
		}
	}
}

func TestRewrite(t *testing.T) {
	t.Parallel()
	resolved := map[string]string{"Alice Smith": "alice", "bob": "bob", "Bad": "no id", "Empty": "", "": "nobody", "A\n": "alice"}
	for _, tt := range []struct{ rule, text, want string }{
		{"text stays", "a < b > c @d <e> \xff\x00", "a < b > c @d <e> \xff\x00"},
		{"white space at the ends stays", " \n<@alice>\t ", " \n<@alice>\t "},
		{"a resolved name becomes an id", "hi <@user.name:Alice Smith>!", "hi <@alice>!"},
		{"every time", "<@user.name:bob><@user.name:bob>", "<@bob><@bob>"},
		{"an unresolved name stays", "<@user.name:Carol>", "<@user.name:Carol>"},
		{"what is no id resolves nothing", "<@user.name:Bad> <@user.name:Empty>", "<@user.name:Bad> <@user.name:Empty>"},
		{"what is no name is not resolved", "<@user.name:> <@user.name:A\n>", "<@user.name:> <@user.name:A\n>"},
		{"a name without its mark is not resolved", "<@Alice Smith>", "<@Alice Smith>"},
		{"the long form of an id becomes the short one", "<@user.id:alice>", "<@alice>"},
		{"the short form stays", "<@alice>", "<@alice>"},
		{"what is no id stays", "<@user.id:no id>", "<@user.id:no id>"},
		{"a mention inside of what is none", "<@user.name:<@user.name:bob>>", "<@user.name:<@bob>>"},
		{"what is not closed stays", "<@user.name:bob", "<@user.name:bob"},
	} {
		if got := Rewrite(tt.text, resolved); got != tt.want {
			t.Errorf("%s: %q: got %q, want %q", tt.rule, tt.text, got, tt.want)
		}
	}
}

// The syntax of a mention, told another way than by the code under test.
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
			t.Errorf("rewritten twice: got %q, want %q", again, got)
		}
		if want, got := angled.Split(text, -1), angled.Split(got, -1); !slices.Equal(got, want) {
			t.Errorf("outside of mentions: got %q, want %q", got, want)
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
			t.Errorf("mentioned: got %q, want %q", sorted, want)
		}
		if left := Names(got); !slices.Equal(left, asked) {
			t.Errorf("left to resolve: got %q, want %q", left, asked)
		}
		for i, id := range after {
			if !idForm.MatchString(id) || !ValidID(id) || slices.Contains(after[:i], id) || !strings.Contains(got, "<@"+id+">") {
				t.Errorf("%q is no id, comes twice, or is not mentioned as such in %q", id, got)
			}
		}
	})
}
