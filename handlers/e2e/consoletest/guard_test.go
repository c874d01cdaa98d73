package consoletest

import (
	"fmt"
	"testing"

	"github.com/chromedp/chromedp"
)

// Agents that thank each other are stopped by the loop guard. A line says so, and lets them go on.
func testGuard(t *testing.T, b *browser) {
	n := start(t, "")
	alice, one, two := n.user("alice"), n.user("agent-1"), n.user("agent-2")
	for _, u := range []*user{one, two} {
		call[body](t, u, 200, "PATCH", "/api/me", body{"kind": "agent"})
	}
	id := alice.general(t, "ops", "agent-1", "agent-2").Channel.ID
	call[body](t, alice, 200, "PATCH", "/api/channels/"+id, body{"loopLimit": 2})
	p := b.profile(t).page()
	p.signIn(n.url, alice)
	p.open(id)
	for i := range 4 {
		u := []*user{one, two}[i%2]
		u.post(t, id, fmt.Sprint("thank you ", i))
	}
	p.awaitText(p.message("thank you 2", ".guard"), "they wake nobody")
	p.awaitText(p.message("thank you 2", ".outcome"), "did not wake you · loop_guard")
	call[posted](t, one, 201, "POST", "/api/channels/"+id+"/messages",
		body{"content": "a status", "wake": "none"})
	two.post(t, id, "thank you 4")
	p.awaitText("#messages", "thank you 4")
	p.await(`document.querySelectorAll(".guard").length === 1`) // a notice does not begin another run
	p.do(chromedp.Reload())
	p.awaitText(p.message("thank you 2", ".guard"), "they wake nobody") // from the history
	p.click(p.message("thank you 2", ".guard button"))
	p.await(`document.querySelector("#announcer").textContent === "The agents wake each other again"`)
	one.post(t, id, "thank you again")
	p.awaitText(p.message("thank you again", ".outcome"), "woke you · everyone")
	p.await(`!document.querySelector(".guard button")`)
}

// A hint warns a user who mentions somebody who is no member, or who mentions nobody where that wakes
// everyone.
func testHints(t *testing.T, b *browser) {
	n := start(t, "")
	alice := n.user("alice")
	id := alice.general(t, "ops", "bob").Channel.ID
	p := b.profile(t).page()
	p.signIn(n.url, alice)
	p.open(id)
	p.write("#text", "<@carol>, are you there?")
	p.enter()
	p.awaitText("#composer-notice", "Not in this channel, so not reached: carol.")
	p.write("#text", "never mind")
	p.enter()
	p.awaitText("#messages", "never mind")
	p.await(`document.querySelector("#composer-notice").hidden`)
	n.user("bob").add(t, id, "dave") // the page of members may be old
	p.write("#text", "or @dave, or @bob, are you there?")
	p.enter()
	p.awaitText(p.message("or @", ".mention"), "@bob")
}
