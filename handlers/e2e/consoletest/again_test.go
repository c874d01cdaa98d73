package consoletest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// In triage the stream leaves out messages. A click on the open channel shows them, as the page promises.
func testOpenAgain(t *testing.T, b *browser) {
	n := start(t, "")
	alice, bob := n.user("alice"), n.user("bob")
	id := alice.create(t, body{
		"guildId": "g1", "name": "triage", "xType": "triage", "memberUserIds": []string{"bob", "carol"},
		"wakeUserIds": []string{"carol"},
	}).Channel.ID
	p := b.profile(t).page()
	p.signIn(n.url, alice)
	p.open(id)
	p.awaitText("#triage-note", "open the channel again")
	bob.post(t, id, "it burns")
	bob.post(t, id, "<@alice> look")
	p.awaitText("#messages", "@alice look")
	if got := p.messages(); len(got) != 1 {
		t.Errorf("got %q, want only the message for alice", got)
	}
	p.click(fmt.Sprintf(`#channels a[href="#/%s"]`, id))
	p.awaitText("#messages", "it burns")
}

// A channel that could not be loaded is loaded when the server answers again, and when it is opened again.
func testOpenAtFault(t *testing.T, b *browser) {
	n, way, alice, w := channelByProxy(t)
	other := alice.general(t, "other").Channel.ID
	alice.post(t, other, "in the other")
	f := b.profile(t)
	p := f.page()
	p.expectRefusals()
	p.signIn(way.url, alice)
	f.worker().expectRefusals()
	p.open(w.id)
	way.fail(true)
	p.awaitText("#pill", "Reconnecting")
	p.click(fmt.Sprintf(`#channels a[href="#/%s"]`, other))
	p.awaitText("#room-problem", "502")
	n.settle(t)
	way.fail(false)
	p.awaitText("#messages", "in the other")
	p.await(`document.querySelector("#room-problem").hidden && !document.querySelector("#composer").hidden`)

	p.click("#cut")
	p.awaitText("#pill", "Cut")
	way.fail(true)
	p.click(fmt.Sprintf(`#channels a[href="#/%s"]`, w.id))
	p.awaitText("#room-problem", "502")
	way.fail(false)
	p.click(fmt.Sprintf(`#channels a[href="#/%s"]`, w.id))
	p.await(`document.querySelector("#room-problem").hidden && !document.querySelector("#composer").hidden`)
}

// In a small window, or on a page that is made large, everything can be read and reached.
func testSmall(t *testing.T, b *browser) {
	n := start(t, "")
	alice, bot := n.user("alice"), n.user("bot")
	id := alice.general(t, "ops", "bot", "somebody-with-a-long-id").Channel.ID
	bot.claim(t, 0)
	alice.post(t, id, "good morning")
	w := bot.wake(t)
	bot.extend(t, w, "reading 318 lines. There are many of them, so this takes a while longer.")
	p := b.profile(t).page()
	p.signIn(n.url, alice)
	p.open(id)
	p.do(chromedp.EmulateViewport(390, 780))
	p.await(`document.querySelector("#back").checkVisibility()`)
	call[body](t, alice, 200, "PATCH", "/api/channels/"+id,
		body{"name": strings.Repeat("operations ", 8) + "now", "agentWakes": "none"})
	p.awaitText("#room-about", "those of agents: nobody")
	p.await(`(() => {
		const about = document.querySelector("#room-about")
		const [name, button] = ["#room-name", "#show-details"].map((selector) =>
			document.querySelector(selector).getBoundingClientRect())
		return name.width > 40 && name.top < button.bottom && button.top < name.bottom &&
			about.scrollWidth <= about.clientWidth && about.scrollHeight <= about.clientHeight
	})()`)
	p.await(fmt.Sprintf(`(() => {
		const [dot, text] = [...document.querySelectorAll(%q)].map((e) => e.getBoundingClientRect())
		return dot.right <= text.left && dot.top >= text.top && dot.bottom <= text.bottom
	})()`, p.message("good morning", ".work li > span")))
	p.click(p.message("good morning", ".actions button"))
	p.awaitText(p.message("good morning", ".deliveries"), "nobody was mentioned")
	p.await(`(() => {
		const node = [...document.querySelectorAll(".deliveries td")].find((e) => e.innerText.includes(
			"mentioned")).lastChild
		const range = document.createRange()
		range.setStart(node, node.data.indexOf("mentioned"))
		range.setEnd(node, range.startOffset + "mentioned".length)
		return range.getClientRects().length === 1
	})()`) // the word is not broken
	p.click("#back")
	p.await(`document.activeElement.id === "new"`)

	p.do(chromedp.EmulateViewport(320, 256)) // 1280 by 1024, four times as large
	p.await(`(() => {
		const [list, link] = [document.querySelector("#nav .scroll"), document.querySelector("#channels a")]
		link.scrollIntoView({ block: "center" })
		const { left, top, bottom } = link.getBoundingClientRect()
		return list.scrollHeight <= list.clientHeight && // the list is not a slit that scrolls
			[top + 1, bottom - 1].every((y) => link.contains(document.elementFromPoint(left + 30, y)))
	})()`)
}

// The open channel is in view in the list of channels, also if a link has led to it.
func testManyChannels(t *testing.T, b *browser) {
	n := start(t, "")
	alice := n.user("alice")
	last := ""
	for i := range 60 {
		last = alice.general(t, fmt.Sprint("channel ", i)).Channel.ID
	}
	p := b.profile(t).page()
	p.signIn(n.url, alice)
	p.do(chromedp.Navigate(n.url + "/#/" + last))
	p.awaitText("#room-name", "channel 59")
	p.await(`(() => {
		const [link, list] = ["#channels a[aria-current]", "#nav .scroll"].map((selector) =>
			document.querySelector(selector).getBoundingClientRect())
		return link.top >= list.top && link.bottom <= list.bottom
	})()`)
}
