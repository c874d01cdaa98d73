package consoletest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// attacks are texts of the kinds that have got past pages that show Markdown. Each would set the title, or
// ask evil.test.
var attacks = []string{
	`<script>document.title = "broken"</script>`,
	`<img src=//evil.test/1 onerror="document.title='broken'">`,
	`<svg onload="document.title='broken'"><image href="https://evil.test/2"></svg>`,
	`<iframe srcdoc="<script>parent.document.title='broken'</script>"></iframe>`,
	`<style>@import "https://evil.test/3"; * { background: url(https://evil.test/4) }</style>`,
	`<link rel=stylesheet href=https://evil.test/5><base href=https://evil.test/>`,
	`<form action=https://evil.test/6><button autofocus>x</button></form>`,
	`![pixel](https://evil.test/7)`,
	"![a]\n\n[a]: https://evil.test/8 \"t\"",
	`[press](javascript:document.title="broken")`,
	`[press](JAVASCRIPT&colon;document.title="broken")`,
	`[press](data:text/html,<script>document.title="broken"</script>)`,
	`[press](https://a.test/"onmouseover="document.title='broken')`,
	`<javascript:document.title="broken">`,
	`<math><mtext><table><mglyph><style><!--</style><img src=x onerror="document.title='broken'">`,
	`<noscript><p title="</noscript><img src=x onerror=document.title='broken'>">`,
	"```js\" onload=\"document.title='broken'\nx\n```",
	"`<img src=https://evil.test/9>` **<b onclick=\"document.title='broken'\">b</b>**",
	"|<img src=https://evil.test/10>|b|\n|-|-|\n" +
		"|<script>document.title='broken'</script>|[x](vbscript:broken)|",
	"<@bob\" onclick=\"document.title='broken'> <@<img src=https://evil.test/11>>",
	`https://a.test/?"><img src=https://evil.test/12 onerror="document.title='broken'">`,
	"1. <details open ontoggle=\"document.title='broken'\">\n   > <object data=https://evil.test/13>",
}

// Whatever is written in Markdown, nothing of it runs, and showing it asks no other server for anything.
func testAttacks(t *testing.T, b *browser) {
	n := start(t, "")
	alice := n.user("alice")
	id := alice.general(t, "ops").Channel.ID
	p := b.profile(t).page()
	p.preload(`globalThis.violations = []
		addEventListener("securitypolicyviolation", (e) => violations.push(e.violatedDirective + " " +
			e.blockedURI))`)
	p.signIn(n.url, alice)
	p.open(id)
	for i, attack := range attacks {
		alice.post(t, id, fmt.Sprintf("%s\n\n*end %d*", attack, i))
	}
	p.awaitText("#messages .prose em", fmt.Sprint("end ", len(attacks)-1))
	if got := eval[int](p, `document.querySelectorAll("#messages .prose").length`); got != len(attacks) {
		t.Errorf("got %d rendered messages, want %d", got, len(attacks))
	}
	// Whatever can be pressed or pointed at, is; links that lead away are not followed.
	eval[bool](p, `document.querySelectorAll("#messages .prose *").forEach((e) => {
		for (const type of ["mouseover", "focus", "toggle", "load", "error"]) e.dispatchEvent(new Event(type))
		if (!/^https?:/.test(e.closest("a")?.href ?? "")) e.click()
	}) ?? true`)
	if got := eval[string](p, `document.title`); got != "ops · Fabric Guild" {
		t.Errorf("got the title %q: something has run", got)
	}
	if got := eval[string](p, `violations.join("\n")`); got != "" {
		t.Errorf("got violations of the policy, want nothing that it must stop:\n%s", got)
	}
	if got := eval[string](p,
		`performance.getEntriesByType("resource").map((e) => e.name).filter((name) =>
			new URL(name).origin !== origin).join("\n")`); got != "" {
		t.Errorf("got requests to other servers:\n%s", got)
	}
	const foreign = `[...document.querySelectorAll("#messages .text *")].filter((e) =>
		!e.matches("p, br, hr, em, strong, del, code, pre, blockquote") &&
			!e.matches("ul, ol, li, a, bdi, div, span, button") &&
			!e.matches("table, thead, tbody, tr, th, td") ||
		[...e.attributes].some((a) => a.name.startsWith("on") || ["src", "style", "id"].includes(a.name)) ||
		e.matches("a") && !(/^(https?|mailto):/.test(e.getAttribute("href")) &&
			e.relList.contains("noopener"))
	).map((e) => e.outerHTML).join("\n")`
	if got := eval[string](p, foreign); got != "" {
		t.Errorf("got elements or attributes that no message may have:\n%s", got)
	}
}

// Agents write Markdown, and people see what is meant: code that can be copied, tables, lists, links and
// mentions. A long message is folded. An edit is rendered too.
func testMarkdown(t *testing.T, b *browser) {
	n := start(t, "")
	alice, bot := n.user("alice"), n.user("bot")
	id := alice.general(t, "ops", "bot").Channel.ID
	m := bot.post(t, id, "**318 failures** for <@alice>:\n\n| pod | failures |\n|---|--:|\n| cart | 201 "+
		"|\n\n```go\nx := 1\n```\n\n- see [the runbook](https://example.org/run)")
	p := b.profile(t).page()
	p.signIn(n.url, alice)
	p.open(id)
	p.awaitText(p.message("318", "strong"), "318 failures")
	p.awaitText(p.message("318", ".mention.me"), "@alice")
	p.awaitText(p.message("318", "td"), "cart")
	p.awaitText(p.message("318", "li"), "see the runbook")
	if got := eval[string](p, `document.querySelector("#messages .prose a").rel`); !strings.Contains(got,
		"noopener") {
		t.Errorf("got rel %q, want noopener", got)
	}
	p.allowCopying()
	p.click(p.message("318", ".code button"))
	p.await(`document.querySelector("#announcer").textContent === "Copied"`)
	p.awaitText(p.message("318", ".code button"), "Copied") // for those who see

	bot.edit(t, m.Message.ID, "_none_ after all")
	p.awaitText(p.message("after all", "em"), "none")
	bot.post(t, id, strings.Repeat("a long line\n", 100)+"the end")
	p.awaitText(p.message("a long line", ".more"), "Show more")
	height := fmt.Sprintf(`document.querySelector(%q).offsetHeight`, p.message("a long line", ".text"))
	folded := eval[int](p, height)
	p.click(p.message("a long line", ".more"))
	p.await(fmt.Sprintf("%s > 3 * %d", height, folded))
	p.do(chromedp.Reload())
	p.awaitText(p.message("after all", "em"), "none") // from the history
}
