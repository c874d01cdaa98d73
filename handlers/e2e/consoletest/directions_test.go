package consoletest

import (
	"fmt"
	"testing"

	"github.com/chromedp/chromedp"
)

// wantOrder wants the first and the last letter of a text on the page, in the elements of a selector, to be
// shown from left to right.
func (p *page) wantOrder(selector, text string) {
	p.t.Helper()
	p.awaitText(selector, text)
	if !eval[bool](p, fmt.Sprintf(`[...document.querySelectorAll(%q)].some((element) => {
		const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT)
		for (let node = walker.nextNode(); node; node = walker.nextNode()) {
			const at = node.data.indexOf(%q)
			if (at < 0) continue
			const left = (i) => {
				const range = document.createRange()
				range.setStart(node, i)
				range.setEnd(node, i + 1)
				return range.getBoundingClientRect().left
			}
			return left(at) < left(at + %d)
		}
	})`, selector, text, len(text)-1)) {
		p.t.Errorf("%s: got %q in reverse, want it from left to right", selector, text)
	}
}

// A text that somebody wrote turns round none but itself: U+202E has what follows run from right to left.
func testDirections(t *testing.T, b *browser) {
	n := start(t, "")
	alice, bob := n.user("alice"), n.user("bob")
	const turned = "\u202e"
	ops := bob.general(t, "ops", "alice")
	p := b.profile(t).page()
	p.expectRefusals()
	p.signIn(n.url, alice)
	p.open(ops.Channel.ID)
	first := bob.post(t, ops.Channel.ID, turned+" one <@alice>")
	p.wantOrder(p.message("one", ".mention"), "@alice")
	bob.post(t, ops.Channel.ID, "/me "+turned+"two <@alice>")
	p.wantOrder(p.message("two", ".mention"), "@alice")
	call[posted](t, bob, 201, "POST", "/api/channels/"+ops.Channel.ID+"/messages",
		body{"content": "three", "replyTo": first.Message.ID})
	p.wantOrder(p.message("three", ".reply"), "in reply to ")

	// A sentence in Hebrew begins on the right, with a mention in its midst too.
	bob.post(t, ops.Channel.ID, "\u05e9\u05dc\u05d5\u05dd <@alice> \u05de\u05d4")
	p.wantOrder(p.message("\u05de\u05d4", ".mention"), "@alice")
	if got := eval[string](p, fmt.Sprintf("getComputedStyle(document.querySelector(%q)).direction",
		p.message("\u05de\u05d4", ".text"))); got != "rtl" {
		t.Errorf("got the direction %s, want rtl", got)
	}

	// A name that no server would take today may be there from before.
	n.exec(t, `UPDATE channels SET name = $1 WHERE id = $2`, turned+"name", ops.Channel.ID)
	p.do(chromedp.Reload())
	p.awaitText("#room-name", "name")
	p.await(`document.title === "name · Fabric Guild"`)
	p.await(`document.querySelector("#text").placeholder === "Message #name"`)
	p.click("#leave")
	p.awaitText("#confirm h2", "Leave ")
	if !eval[bool](p, `(() => {
		const [before, name, after] = document.querySelector("#confirm h2").childNodes
		const place = (node) => {
			const range = document.createRange()
			range.selectNodeContents(node)
			return range.getBoundingClientRect()
		}
		return place(before).right <= place(name).left + 1 && place(name).right <= place(after).left + 1
	})()`) {
		t.Error("got the question in another order, want the name between its words")
	}
}

// What can be done with the first message is shown whole, beside it.
func testFirstMessage(t *testing.T, b *browser) {
	n := start(t, "")
	alice := n.user("alice")
	ops := alice.general(t, "ops").Channel.ID
	alice.post(t, ops, "the first")
	p := b.profile(t).page()
	p.signIn(n.url, alice)
	p.open(ops)
	p.do(chromedp.Focus(chromedp.CSS(p.message("the first", ".actions button"))))
	p.await(fmt.Sprintf(`(() => {
		const actions = document.querySelector(%q).getBoundingClientRect()
		const scroller = document.querySelector("#scroller").getBoundingClientRect()
		const day = document.querySelector(".day span").getBoundingClientRect()
		return actions.top >= scroller.top && actions.bottom > day.bottom
	})()`, p.message("the first", ".actions")))
}
