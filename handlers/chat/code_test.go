package chat

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
)

func TestNothingInCodeIsAMention(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		rule, text string
		want       []string
	}{
		{"between backticks", "`<@a>` <@b>", []string{"b"}},
		{"between runs of two backticks", "``<@a> ` <@b>`` <@c>", []string{"c"}},
		{"runs of other lengths do not close", "``<@a>` <@b>", []string{"a", "b"}},
		{"a backtick alone is text", "it`s <@a>", []string{"a"}},
		{"over the end of a line", "`<@a>\n<@b>` <@c>", []string{"c"}},
		{"not over an empty line", "`<@a>\n\n<@b>`", []string{"a", "b"}},
		{"not from one item of a list to the next", "- ` <@a>\n- ` <@b>", []string{"a", "b"}},
		{"not from a heading to the next line", "`\n# <@a>`", []string{"a"}},
		{"an escaped backtick is text", "\\`<@a>`", []string{"a"}},
		{"an escaped backslash is not a backtick's", "\\\\`<@a>` <@b>", []string{"b"}},
		{"of an escaped run the rest is a run", "\\``<@a>` <@b>", []string{"b"}},
		{"inside code a backslash is nothing special", "`\\`<@a>`", []string{"a"}},
		{"a mention that a backtick cuts", "<@user.name:`a`> <@b>", []string{"b"}},
		{"a block", "```\n<@a>\n```\n<@b>", []string{"b"}},
		{"a block with a language", "```go\n<@a>\n``` \n<@b>", []string{"b"}},
		{"a block with tildes", "~~~ ```\n<@a>\n```\n~~~~\n<@b>", []string{"b"}},
		{"a longer fence", "````\n```\n<@a>\n````\n<@b>", []string{"b"}},
		{"a block that is not closed", "<@a>\n```\n<@b>\n\n<@c>", []string{"a"}},
		{"a fence with backticks behind it is text", "```a` <@a>\n<@b>", []string{"a", "b"}},
		{"a block in a quote", "> ```\n> <@a>\n> ```\n> <@b>", []string{"b"}},
		{"a quote's end closes its block", "> ```\n> <@a>\n<@b>", []string{"b"}},
		{"a block in an item", "1. see\n   ```\n   <@a>\n   ```\n2. <@b>", []string{"b"}},
		{"a block that begins an item", "- ```\n  <@a>\n  ```\n<@b>", []string{"b"}},
		{"text between code", "`a` <@b> `c` <@d>", []string{"b", "d"}},
		{"two tildes are text", "~~<@a>~~", []string{"a"}},
	} {
		if diff := cmp.Diff(tt.want, Mentions(tt.text)); diff != "" {
			t.Errorf("%s: %q (-want +got):\n%s", tt.rule, tt.text, diff)
		}
	}
	const kept = "`<@user.name:A>` ```<@user.id:b>```"
	if got := Rewrite(kept+"<@user.name:A>", map[string]string{"A": "a"}); got != kept+"<@a>" {
		t.Errorf("got %q rewritten, want the code as it was", got)
	}
	if got := Names(kept); got != nil {
		t.Errorf("got the names %v of code, want none", got)
	}
}

// A Markdown parser finds the same code in texts without nesting, which is all that Mentions promises.
func TestCodeIsWhatMarkdownShowsAsCode(t *testing.T) {
	t.Parallel()
	pieces := []string{"`", "``", "\\`", "x", "\n", "\n\n", "\n```\n", "\n~~~\n", "<@a>", " y"}
	texts := 100_000 // each text of five pieces
	if testing.Short() {
		texts = 10_000 // of four
	}
	markdown := goldmark.DefaultParser() // making one takes longer than parsing a text
	for i := range texts {
		var b strings.Builder
		for n := i; n > 0; n /= 10 {
			b.WriteString(pieces[n%10])
		}
		s := b.String()
		if strings.Count(s, "<@a>") != 1 {
			continue
		}
		got := strings.Contains(outside(s), "<@a>")
		if want := strings.Contains(markdownText(markdown, s), "<@a>"); got != want {
			t.Fatalf("%q: got the mention outside of code %v, want %v", s, got, want)
		}
	}
}

func outside(s string) string {
	var b strings.Builder
	for part, isCode := range parts(s) {
		if !isCode {
			b.WriteString(part)
		}
	}
	return b.String()
}

// markdownText returns what goldmark finds outside of code.
func markdownText(p parser.Parser, s string) string {
	source := []byte(s)
	var b strings.Builder
	_ = ast.Walk(p.Parse(text.NewReader(source)),
		func(n ast.Node, in bool) (ast.WalkStatus, error) {
			switch n := n.(type) {
			case *ast.CodeSpan, *ast.FencedCodeBlock:
				return ast.WalkSkipChildren, nil
			case *ast.Text:
				if in {
					b.Write(n.Segment.Value(source))
				}
			}
			return ast.WalkContinue, nil
		})
	return b.String()
}

// The parts of any text are the text.
func FuzzParts(f *testing.F) {
	f.Add("a `b` c\n```\nd\n```")
	f.Fuzz(func(t *testing.T, s string) {
		var all strings.Builder
		code := false
		for part, isCode := range parts(s) {
			if isCode != code {
				t.Fatalf("%q: text and code do not take turns", s)
			}
			code = !isCode
			all.WriteString(part)
		}
		if all.String() != s || !code {
			t.Fatalf("got %q, want %q", all.String(), s)
		}
	})
}

func TestPlainNames(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		rule, text string
		want       [][]string
	}{
		{"no @", "hi bob", nil},
		{"an id", "hi @bob", [][]string{{"bob"}}},
		{
			"an id with a point and a dash", "@log-agent.x: go",
			[][]string{{"log-agent.x: go", "log-agent.x", "log-agent", "log"}},
		},
		{
			"an id that is an address", "@bob@example.org",
			[][]string{{"bob@example.org", "bob@example", "bob"}},
		},
		{
			"a name of two words", "ask @Log Agent, please",
			[][]string{{"Log Agent, please", "Log Agent", "Log"}},
		},
		{"a name in any script", "(@Zoë)", [][]string{{"Zoë"}}},
		{"an address", "write to bob@example.org", nil},
		{"a mention", "<@bob> <@user.name:Bob>", nil},
		{"code", "`@bob`\n```\n@bob\n```", nil},
		{"two", "@a\n@b", [][]string{{"a"}, {"b"}}},
		{"an @ before something else", "@ @, @\n@", nil},
		{"a path", "https://example.org/@bob", nil},
	} {
		if diff := cmp.Diff(tt.want, PlainNames(tt.text)); diff != "" {
			t.Errorf("%s: %q (-want +got):\n%s", tt.rule, tt.text, diff)
		}
	}
	if got := PlainNames(strings.Repeat("@a b c d e f g h ", 1000)); len(got) != maxPlain ||
		len(got[0]) != maxPlainWords {
		t.Errorf("got %d places with %v, want %d with %d names", len(got), got[0], maxPlain, maxPlainWords)
	}
	if got := PlainNames("@" + strings.Repeat("ü", 1000)); got != nil {
		t.Errorf("got %v for a name of 1,000 characters, want none", got)
	}
	if got := slices.Concat(PlainNames("@" + strings.Repeat("ü", MaxNameLen))...); len(got) != 1 {
		t.Errorf("got %v, want one name of the greatest length", got)
	}
}
