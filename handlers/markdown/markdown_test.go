package markdown_test

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"fabric-guild/handlers/markdown"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"
)

func TestHTML(t *testing.T) {
	t.Parallel()
	const rel = ` rel="nofollow noreferrer noopener" target="_blank"`
	for _, tt := range []struct{ name, text, want string }{
		{"a text", "hi there", "<p>hi there</p>\n"},
		{"two lines", "one\ntwo", "<p>one<br>\ntwo</p>\n"},
		{
			"emphasis", "*a* **b** ~~c~~ `d`",
			"<p><em>a</em> <strong>b</strong> <del>c</del> <code>d</code></p>\n",
		},
		{"a heading", "# Plan", "<h1>Plan</h1>\n"},
		{
			"code", "```go\nx := \"<b>\"\n```",
			"<pre><code class=\"language-go\">x := &#34;&lt;b&gt;&#34;\n</code></pre>\n",
		},
		{"code of no known language", "```\"><script>\nx\n```", "<pre><code>x\n</code></pre>\n"},
		{"a list", "- a\n- b", "<ul>\n<li>a</li>\n<li>b</li>\n</ul>\n"},
		{"a list from 3", "3. a\n4. b", "<ol start=\"3\">\n<li>a</li>\n<li>b</li>\n</ol>\n"},
		{"a quote", "> a", "<blockquote>\n<p>a</p>\n</blockquote>\n"},
		{
			"a table", "|a|b|\n|:-:|-|\n|c|d|",
			"<table>\n<thead>\n<tr>\n<th align=\"center\">a</th>\n<th>b</th>\n</tr>\n</thead>\n" +
				"<tbody>\n<tr>\n<td align=\"center\">c</td>\n<td>d</td>\n</tr>\n</tbody>\n</table>\n",
		},
		{
			"a link", "[a](https://example.org/?b=1&c)",
			`<p><a href="https://example.org/?b=1&amp;c"` + rel + `>a</a></p>` + "\n",
		},
		{
			"a bare address", "see https://example.org.",
			`<p>see <a href="https://example.org"` + rel + `>https://example.org</a>.</p>` + "\n",
		},
		{"a link to a page here", "[a](/api/me)", "<p>a</p>\n"},
		{
			"an image", "![a cat](https://example.org/cat.png)",
			`<p><a href="https://example.org/cat.png"` + rel + `>a cat</a></p>` + "\n",
		},
		{
			"an image without a text", "![](https://example.org/cat.png)",
			`<p><a href="https://example.org/cat.png"` + rel +
				`>https://example.org/cat.png</a></p>` + "\n",
		},
		{
			"an image in a link", "[![cat](https://a.example)](https://b.example)",
			`<p><a href="https://b.example"` + rel + `>cat</a></p>` + "\n",
		},
		{
			"an image in an image", "![a ![b](https://b.example)](https://a.example)",
			`<p><a href="https://a.example"` + rel + `>a b</a></p>` + "\n",
		},
		{"a mention", "hi <@bob>!", `<p>hi <span class="mention" data-user-id="bob">@bob</span>!</p>` + "\n"},
		{
			"a long mention", "<@user.id:_my_bot_@example.org>",
			`<p><span class="mention" data-user-id="_my_bot_@example.org">` +
				`@_my_bot_@example.org</span></p>` + "\n",
		},
		{"a mention in code", "`<@bob>`", "<p><code>&lt;@bob&gt;</code></p>\n"},
		{"no mention", "<@no such>", "<p>&lt;@no such&gt;</p>\n"},
		{"HTML", "<b>hi</b> <!-- c -->", "<p>&lt;b&gt;hi&lt;/b&gt; &lt;!-- c --&gt;</p>\n"},
		{"a block of HTML", "<div>\nhi\n</div>", "<p>&lt;div&gt;<br>\nhi<br>\n&lt;/div&gt;</p>\n"},
		{"nothing", "", ""},
	} {
		if diff := cmp.Diff(tt.want, markdown.HTML(tt.text)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// allowed are the elements that a page may get, with their attributes.
var allowed = map[string]map[string]string{
	"p": nil, "br": nil, "hr": nil, "h1": nil, "h2": nil, "h3": nil, "h4": nil, "h5": nil, "h6": nil,
	"blockquote": nil, "pre": nil, "em": nil, "strong": nil, "del": nil, "ul": nil, "li": nil,
	"table": nil, "thead": nil, "tbody": nil, "tr": nil,
	"ol":   {"start": `^[0-9]+$`},
	"code": {"class": `^language-[a-zA-Z0-9_+#.-]+$`},
	"th":   {"align": `^(left|center|right)$`},
	"td":   {"align": `^(left|center|right)$`},
	"span": {"class": `^mention$`, "data-user-id": `^[A-Za-z0-9._@-]+$`},
	"a":    {"href": `^(https?://|mailto:)`, "rel": `nofollow`, "target": `^_blank$`},
}

// wantHarmless checks that a page that inserts the HTML runs nothing, and asks nobody for anything.
func wantHarmless(t *testing.T, text, made string) {
	t.Helper()
	z := html.NewTokenizer(strings.NewReader(made))
	for z.Next() != html.ErrorToken {
		token := z.Token()
		switch token.Type {
		case html.TextToken, html.EndTagToken:
			continue
		case html.CommentToken, html.DoctypeToken:
			t.Errorf("%q: got %q, want neither comment nor doctype", text, made)
			continue
		}
		attributes, known := allowed[token.Data]
		if !known {
			t.Errorf("%q: got the element %s in %q", text, token.Data, made)
		}
		for _, a := range token.Attr {
			form, known := attributes[a.Key]
			if !known || !regexp.MustCompile(form).MatchString(a.Val) {
				t.Errorf("%q: got %s=%q in %q", text, a.Key, a.Val, made)
			}
			if a.Key == "href" {
				u, err := url.Parse(a.Val)
				if err != nil || !slices.Contains([]string{"http", "https", "mailto"}, u.Scheme) {
					t.Errorf("%q: got the address %q", text, a.Val)
				}
			}
		}
	}
}

// attacks are texts of the kinds that have passed sanitisers of Markdown or HTML.
var attacks = []string{
	// scripts and handlers as HTML
	`<script>alert(1)</script>`,
	`<ScRiPt src=//evil.example/x.js></sCrIpT>`,
	"<script\n>alert(1)</script\n>",
	`<img src=x onerror=alert(1)>`,
	`<svg/onload=alert(1)>`,
	`<svg><script>alert(1)</script></svg>`,
	`<body onload=alert(1)>`,
	`<details open ontoggle=alert(1)>`,
	`<video><source onerror=alert(1)>`,
	`<iframe srcdoc="<script>alert(1)</script>">`,
	`<object data=javascript:alert(1)>`,
	`<embed src=//evil.example>`,
	`<a href="javascript:alert(1)">x</a>`,
	`<form action=//evil.example><button>x</button></form>`,
	`<style>*{background:url(//evil.example)}</style>`,
	`<link rel=stylesheet href=//evil.example>`,
	`<base href=//evil.example>`,
	`<meta http-equiv=refresh content="0;url=//evil.example">`,
	// HTML that parsers repair into something else
	`<noscript><p title="</noscript><img src=x onerror=alert(1)>">`,
	`<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>`,
	`<svg></p><style><a id="</style><img src=1 onerror=alert(1)>">`,
	`<textarea></textarea><img src=x onerror=alert(1)>`,
	`<!--><img src=x onerror=alert(1)>-->`,
	`<![CDATA[<img src=x onerror=alert(1)>]]>`,
	`<?php echo 1 ?><x>`,
	`<<script>alert(1)//<</script>`,
	"<im\x00g src=x onerror=alert(1)>",
	"\xff<img src=x onerror=alert(1)>",
	`<template><img src=x onerror=alert(1)></template>`,
	// addresses that run something
	`[x](javascript:alert(1))`,
	`[x](JaVaScRiPt:alert(1))`,
	`[x](javascript&colon;alert(1))`,
	`[x](java&#x0A;script:alert(1))`,
	"[x](java\tscript:alert(1))",
	`[x](&#106;avascript:alert(1))`,
	`[x](\javascript:alert(1))`,
	`[x](vbscript:msgbox(1))`,
	`[x](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)`,
	`[x](data:image/svg+xml,<svg/onload=alert(1)>)`,
	`[x](<javascript:alert(1)>)`,
	`<javascript:alert(1)>`,
	"[x]( \x01javascript:alert(1))",
	`[x](blob:https://a/b)`,
	`[x](file:///etc/passwd)`,
	`[x](//evil.example)`,
	`[x](\\evil.example)`,
	`[x](/api/session)`,
	`[x](http:evil)`,
	`[x](https://a.example\@evil.example)`,
	"[x]: javascript:alert(1)\n\n[x]",
	"[x]\n\n[x]: <javascript:alert(1)> 'y'",
	`javascript://example.org/%0aalert(1)`,
	// out of an attribute
	`[x](https://a.example "onmouseover=alert(1)")`,
	`[x](https://a.example/" onmouseover="alert(1))`,
	`[x](https://a.example/'onmouseover='alert(1))`,
	`[x](https://a.example 'a" onmouseover="alert(1)')`,
	"[x](https://a.example \"a\n\nb\")",
	"```js\" onload=\"alert(1)\nx\n```",
	"~~~x><img src=x onerror=alert(1)>\n~~~",
	`https://a.example/"onmouseover="alert(1)`,
	`<https://a.example/"onmouseover=alert(1)>`,
	`www.a.example/<img src=x onerror=alert(1)>`,
	// images and what else would be loaded
	`![x](https://evil.example/x.png)`,
	`![x](javascript:alert(1))`,
	`![<img src=x onerror=alert(1)>](https://a.example)`,
	`![x](https://a.example "onerror=alert(1)")`,
	`![x][y]` + "\n\n[y]: data:image/svg+xml,x",
	`[![x](javascript:alert(1))](https://a.example)`,
	// mentions
	`<@"onmouseover=alert(1)>`,
	`<@bob"><img src=x onerror=alert(1)>`,
	`<@user.id:<script>>`,
	`<@bob onclick=alert(1)>`,
	`[<@bob>](javascript:alert(1))`,
	"<@bob\n>",
	`<@&quot;>`,
	// elsewhere in Markdown
	"|a|\n|-|\n|<img src=x onerror=alert(1)>|",
	`**<img src=x onerror=alert(1)>**`,
	"`<img src=x onerror=alert(1)>`",
	`# <img src=x onerror=alert(1)>`,
	"- <img src=x onerror=alert(1)>",
	"> <script>\n> alert(1)\n> </script>",
	"    <script>alert(1)</script>",
	"\\<img src=x onerror=alert(1)>",
	`&lt;img src=x onerror=alert(1)&gt;`,
	`&#60;script&#62;alert(1)&#60;/script&#62;`,
	`# x {onclick=alert(1)}`,
	`[x](https://a.example){onclick=alert(1)}`,
	"[^1]\n\n[^1]: <img src=x onerror=alert(1)>",
	"99999999999. x",
	// what a page finds by name
	`<p id=console class=mention>x</p>`,
	`[x](https://a.example){#name}`,
	`<form name=body><input name=firstChild>`,
}

func TestAttacksAreHarmless(t *testing.T) {
	t.Parallel()
	for _, text := range attacks {
		for _, around := range []string{
			"%", "a % b", "> %", "- %\n- %", "|%|\n|-|\n|%|", "**%**", "[%](https://a.example)",
			"`%", "```\n%",
		} {
			whole := strings.ReplaceAll(around, "%", text)
			wantHarmless(t, whole, markdown.HTML(whole))
		}
	}
	for _, a := range attacks { // two in a row may complete each other
		for _, b := range attacks {
			wantHarmless(t, a+b, markdown.HTML(a+b))
		}
	}
}

func FuzzHTML(f *testing.F) {
	for _, text := range attacks {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) { wantHarmless(t, text, markdown.HTML(text)) })
}

// longest is the longest text of a message, in bytes.
const longest = 16 << 10

// large are texts whose HTML could be much larger, or whose trees much deeper, than the text.
var large = map[string]string{
	"quotes": strings.Repeat(">", longest),
	"lists":  strings.Repeat("- ", longest/2),
	"lists of many lines": func() string {
		var b strings.Builder
		for i := 0; b.Len() < longest-2*i-3; i++ {
			b.WriteString(strings.Repeat("  ", i) + "- a\n")
		}
		return b.String()
	}(),
	"a wide table": "|" + strings.Repeat("a|", longest/8) + "\n|" + strings.Repeat("-|", longest/8) + "\n" +
		strings.Repeat("a\n", longest/4),
	"emphasis":    strings.Repeat("*a **a ", longest/7),
	"stars":       strings.Repeat("*", longest/2) + "a" + strings.Repeat("*", longest/2-1),
	"brackets":    strings.Repeat("[", longest),
	"links":       strings.Repeat("[a](", longest/4),
	"images":      strings.Repeat("![a", longest/3),
	"short links": strings.Repeat("[a](http://b)", longest/13),
	"references": "[a]: http://" + strings.Repeat("b", longest/2) + "\n\n" +
		strings.Repeat("[a]", longest/6),
	"backticks": func() string {
		var b strings.Builder
		for i := 1; b.Len() < longest-i-1; i++ {
			b.WriteString(strings.Repeat("`", i) + " ")
		}
		return b.String()
	}(),
	"mentions":  strings.Repeat("<@b>", longest/4),
	"angles":    strings.Repeat("<", longest),
	"entities":  strings.Repeat("&#34;", longest/5),
	"quotation": strings.Repeat(`"`, longest),
	"lines":     strings.Repeat("a\n", longest/2),
	"breaks":    strings.Repeat("\n", longest),
	"addresses": strings.Repeat("http://a ", longest/9),
	"tildes":    strings.Repeat("~~a ", longest/4),
}

// A text that is built to be costly makes an answer of bounded size, and does not take allocations out of
// proportion.
func TestLargeTextsAreBounded(t *testing.T) { // not parallel: it counts allocations
	for name, text := range large {
		var made string
		allocations := testing.AllocsPerRun(1, func() { made = markdown.HTML(text) })
		wantHarmless(t, name, made)
		if most := 20 * longest; len(made) > most {
			t.Errorf("%s: got %d bytes of HTML, want %d at most", name, len(made), most)
		}
		if deepest := nesting(made); deepest > 40 {
			t.Errorf("%s: got elements nested %d deep, want 40 at most", name, deepest)
		}
		if allocations > 20*longest {
			t.Errorf("%s: got %v allocations, want %d at most", name, allocations, 20*longest)
		}
		t.Logf("%s: %d bytes of text, %d of HTML, %v allocations", name, len(text), len(made), allocations)
	}
}

func nesting(made string) (deepest int) {
	level := 0
	z := html.NewTokenizer(strings.NewReader(made))
	for z.Next() != html.ErrorToken {
		token := z.Token()
		switch {
		case token.Type == html.StartTagToken && token.Data != "br" && token.Data != "hr":
			level++
			deepest = max(deepest, level)
		case token.Type == html.EndTagToken:
			level--
		}
	}
	return deepest
}
