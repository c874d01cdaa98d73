package consoletest

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

const axeFile = "../../../testdata/browser/node_modules/axe-core/axe.min.js"

var picture = flag.String("picture", "", "write the README's picture of the console to this `file`")

// wantAccessible has axe look at what is on the page now; in the dark at the colours only.
func (p *page) wantAccessible(what, axe string) {
	p.t.Helper()
	eval[bool](p, axe+"; true")
	for scheme, options := range map[string]string{"dark": `{ runOnly: ["color-contrast"] }`, "light": "{}"} {
		p.theme(scheme)
		found := eval[string](p, `axe.run(`+options+`).then((r) => JSON.stringify(r.violations.map((v) =>
			v.id + ": " + v.help + " " + v.nodes.map((n) => n.html + " " + n.failureSummary).join("; "))))`)
		var violations []string
		if err := json.Unmarshal([]byte(found), &violations); err != nil {
			p.t.Fatal(err)
		}
		for _, v := range violations {
			p.t.Errorf("%s, %s: %s", what, scheme, v)
		}
	}
}

func testAxe(t *testing.T, b *browser) {
	source, err := os.ReadFile(axeFile)
	if err != nil {
		t.Skip("axe-core is not installed: npm ci --prefix testdata/browser")
	}
	axe := string(source)
	n := start(t, "")
	f := b.profile(t)
	p := f.page()
	p.expectRefusals()
	p.visit(n.url)
	p.write("#token", "wrong")
	p.enter()
	p.awaitText("#sign-in-problem", "not known")
	p.wantAccessible("signing in", axe)
	p.signIn(n.url, n.user("alice"))
	p.wantAccessible("in no channel", axe)
	play(t, n, p)
	p.wantAccessible("a conversation", axe)
	if *picture != "" {
		p.theme("light")
		p.save(*picture)
	}

	p.click(p.message("14 tickets", ".actions button"))
	p.awaitText(".deliveries", "not_addressed")
	p.write("#text", "@")
	p.awaitText("#suggestions", "@Deploy agent")
	p.wantAccessible("deliveries and suggestions", axe)
	p.clear("#text")
	p.press("\x1b")
	p.click(p.message("please roll", "[aria-label^=Edit]"))
	p.wantAccessible("editing", axe)
	p.press("\x1b")
	p.click(p.message("please roll", "[aria-label^=Delete]"))
	p.wantAccessible("asking", axe)
	p.press("\x1b")
	p.click(p.message("please roll", "[aria-label^=Answer]"))
	incident := eval[string](p, `location.hash.slice(2)`)
	n.user("bob").does(t, incident, "typing", "")
	n.user("log-agent").does(t, incident, "draft", "The last error was at")
	p.awaitText("#doing", "bob types")
	p.awaitText("#drafts", "The last error")
	p.wantAccessible("a draft and an answer", axe)
	p.click("#replying button")
	mine := n.user("alice").general(t, "mine").Channel.ID
	p.open(mine)
	p.click("#change-channel")
	p.wantAccessible("the settings of a channel", axe)
	p.press("\x1b")
	p.open(incident)
	p.click("#me")
	p.wantAccessible("the own name", axe)
	p.press("\x1b")
	p.write("#search-text", "failures")
	p.enter()
	p.awaitText("#hits, #search-status", "o") // it may not be indexed yet
	p.wantAccessible("searching", axe)
	p.press("\x1b")
	p.click("#new")
	p.click("#create .primary")
	p.awaitText("#field-name .problem", "1 to 100")
	p.wantAccessible("creating a channel", axe)
	p.press("\x1b")
	p.click("#find")
	p.awaitText("#joinable", "lunch")
	p.wantAccessible("joining a channel", axe)
	p.press("\x1b")
	for _, name := range []string{"on-call", "planning", "support"} {
		p.open(strings.TrimPrefix(eval[string](p, fmt.Sprintf(
			`[...document.querySelectorAll("#channels a")].find((a) => a.innerText.includes(%q)).hash`,
			name)), "#/"))
		p.awaitText("#members", "alice")
		p.wantAccessible(name, axe)
	}
	p.do(chromedp.EmulateViewport(390, 800))
	p.wantAccessible("narrow, the messages", axe)
	p.click("#pill")
	p.awaitText("#stream", "Cursor")
	p.click("#cut")
	p.awaitText("#stream-state", "Cut")
	p.wantAccessible("narrow, the details", axe)
	p.click("#hide-details")
	p.click("#back")
	p.awaitText("#nav", "planning")
	p.wantAccessible("narrow, the channels", axe)
}

// play has people and agents talk, with the page open in the midst of it.
func play(t *testing.T, n *guild, p *page) {
	t.Helper()
	bob, carol, logs, deploys := n.user("bob"), n.user("carol"), n.user("log-agent"), n.user("deploy-agent")
	for u, name := range map[*user]string{logs: "Log agent", deploys: "Deploy agent"} {
		call[body](t, u, 200, "PATCH", "/api/me", body{"kind": "agent", "displayName": name})
	}
	deploys.claim(t, 0) // its queue begins here
	create := func(guild, name, xType string, members ...string) string {
		b := body{"guildId": guild, "name": name, "xType": xType, "memberUserIds": members}
		if xType == "triage" || xType == "custom" {
			b["wakeUserIds"] = members[1:]
		}
		return bob.create(t, b).Channel.ID
	}
	incident := create("acme", "checkout-incident", "general", "alice", "carol", "deploy-agent", "log-agent")
	create("acme", "deploys", "report", "alice")
	create("acme", "on-call", "triage", "alice", "log-agent")
	create("acme", "lunch", "general", "carol")
	planning := create("acme", "planning", "discuss", "alice", "docs-agent")
	support := create("storefront", "support", "custom", "alice", "triage-agent")
	bob.create(t, body{"guildId": "acme", "xType": "dm", "memberUserIds": []string{"alice"}})

	p.await(`document.querySelectorAll("#channels a").length === 6`)
	p.awaitText("#channels", "bob")
	p.open(incident)
	bob.post(t, incident, "Checkout answers 500. <@log-agent>, what do the logs say?")
	logs.post(t, incident, "<@bob>, **318 failures**, all alike, all from `cart-service` 2.15.0:\n\n"+
		"| pod | failures | first |\n|---|--:|--:|\n| cart-7f9 | 201 | 09:41 |\n| cart-8aa | 117 "+
		"| 09:42 |\n\n"+
		"```log\nprice_version missing: item 7712\n```")
	p.awaitText("#messages .prose strong", "318 failures")
	p.write("#text", "So it is this morning’s release. @dep")
	p.awaitText("#suggestions", "@Deploy agent")
	p.press("\t")
	p.write("#text", "please roll it back")
	p.enter()
	p.awaitText("#messages", "please roll it back")
	w := deploys.wake(t)
	deploys.extend(t, w, "4 of 6 pods run 2.14.3")
	p.awaitText("#messages .work", "Deploy agent works on it: 4 of 6 pods")
	p.click("#cut")
	p.awaitText("#stream-state", "Cut")
	bob.post(t, incident, "<@alice>, support has 14 tickets about it")
	carol.post(t, incident, "<@bob>, errors are down to 2 %")
	bob.post(t, planning, "Next: what do we leave out?")
	bob.post(t, support, "Two customers were charged twice")
	bob.post(t, support, "Refunds are on the way")
	n.settle(t)
	p.click("#cut")
	p.awaitText("#resumed", "5 events in the backlog, no duplicates")
	p.awaitText("#resumed", "nothing is missing")
	p.await(`document.querySelectorAll("#channels .count").length === 2`)
}

// save writes what the page shows to a file.
func (p *page) save(file string) {
	p.t.Helper()
	p.do(chromedp.MouseClickXY(640, 690))
	image, err := chromedp.Run(p.ctx, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.WriteFile(file, image, 0o644)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}
