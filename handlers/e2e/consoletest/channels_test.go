package consoletest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/chromedp/chromedp"
)

func (p *page) choose(selector, value string) {
	p.t.Helper()
	eval[bool](p, fmt.Sprintf(`(() => {
		const e = document.querySelector(%q)
		e.value = %q
		return e.dispatchEvent(new Event("change", { bubbles: true }))
	})()`, selector, value))
}

func testChannels(t *testing.T, b *browser) {
	n := start(t, "")
	alice, bob := n.user("alice"), n.user("bob")
	bob.general(t, "open to all")
	hidden := bob.create(t, body{
		"guildId": "g1", "name": "hidden", "xType": "general",
		"private": true,
	}).Channel.ID
	p := b.profile(t).page()
	p.expectRefusals()
	p.signIn(n.url, alice)
	p.awaitText("#no-channels", "You are in no channel")

	p.click("#new")
	p.press("\t") // the guild
	p.write("#c-guild", "no guild")
	p.enter()
	p.awaitText("#field-guildId .problem", "1 to 128 characters: letters, digits")
	p.awaitText("#field-name .problem", "1 to 100 characters")
	p.await(
		`document.activeElement.id === "c-guild" &&
			document.activeElement.getAttribute("aria-invalid") === "true"`,
	)
	for _, kind := range []string{"general", "report", "triage", "custom", "discuss", "work"} {
		if kind != "general" {
			p.click("#new")
		}
		p.choose("#c-kind", kind)
		p.clear("#c-guild")
		p.write("#c-guild", "g1")
		p.write("#c-name", "the "+kind)
		p.write("#c-members", "bob, @carol")
		if kind == "triage" || kind == "custom" {
			p.write("#c-wake", "bob")
		}
		p.click("#create .primary")
		p.awaitText("#room-name", "the "+kind)
		p.awaitText("#members", "carol")
		p.awaitText("#room-kind", kind)
	}
	p.click("#new")
	p.choose("#c-kind", "dm")
	p.write("#c-members", "bob carol")
	p.click("#create .primary")
	p.awaitText("#field-memberUserIds .problem", "exactly one other user")
	p.clear("#c-members")
	p.write("#c-members", "bob")
	p.click("#create .primary")
	p.awaitText("#room-name", "bob")
	p.awaitText(`#channels a[aria-current="page"]`, "dm")

	p.click("#find")
	p.awaitText("#joinable", "open to all")
	if got := eval[string](p, `document.querySelector("#joinable").innerText`); slices.Contains([]string{got},
		"hidden") {
		t.Errorf("got %q, want no private channel", got)
	}
	p.click("#joinable button")
	p.awaitText("#room-name", "open to all")
	p.write("#new-member", "dave")
	p.enter()
	p.awaitText("#members", "dave")
	p.write("#new-member", "a b")
	p.enter()
	p.awaitText("#details-problem", "1 to 128 characters")
	p.click("#leave")
	p.awaitText("#confirm", "Leave #open to all?")
	p.click("#confirm .primary")
	p.awaitText("#room-name", "No channel is open")
	p.await(`document.activeElement.id === "new"`)
	p.await(`![...document.querySelectorAll("#channels .name")].some((e) => e.innerText === "open to all")`)

	// What others do to me.
	p.do(chromedp.Navigate(n.url + "/#/" + hidden))
	p.awaitText("#room-problem", "hidden from you")
	bob.add(t, hidden, "alice")
	p.awaitText("#room-name", "hidden")
	p.await("!document.querySelector('#composer').hidden")
	bob.remove(t, hidden, "alice")
	p.awaitText("#room-problem", "hidden from you")
	p.await("document.querySelector('#composer').hidden")
}

func testHistory(t *testing.T, b *browser) {
	n := start(t, "")
	alice := n.user("alice")
	id := alice.general(t, "long", "bob").Channel.ID
	var want []string
	for i := range 120 {
		want = append(want, fmt.Sprint("message ", i))
		alice.post(t, id, want[i])
	}
	p := b.profile(t).page()
	p.signIn(n.url, alice)
	p.open(id)
	p.awaitText("#messages", "message 119")
	if got := p.messages(); !slices.Equal(got, want[70:]) {
		t.Errorf("got %q, want the latest 50", got)
	}
	eval[int](p, "document.querySelector('#scroller').scrollTop = 0")
	p.click("#earlier button")
	p.await("document.querySelectorAll('#messages li').length === 100")
	n.user("bob").post(t, id, "meanwhile") // below what is in view
	p.awaitText("#newest", "A new message")
	p.click("#earlier button")
	p.await("document.querySelectorAll('#messages li').length === 121")
	if got := p.messages(); !slices.Equal(got, append(want, "meanwhile")) {
		t.Errorf("got %q, want all of them in order", got)
	}
	p.await("document.querySelector('#earlier').hidden")
}

// What users write is shown as they wrote it, and never more.
func testHostileTexts(t *testing.T, b *browser) {
	n := start(t, "")
	alice := n.user("alice")
	const evil = `<img src=x onerror="document.title='broken'"><script>document.title='broken'</script>`
	id := alice.general(t, evil[:80]).Channel.ID
	alice.post(t, id, evil)
	p := b.profile(t).page()
	p.signIn(n.url, alice)
	p.open(id)
	p.awaitText("#messages .text", evil)
	p.awaitText("#room-name", evil[:80])
	alice.post(t, id, evil+" again")
	p.awaitText("#messages .text", evil+" again")
	if got := eval[int](p, `document.querySelectorAll("#app img, #app script").length`); got != 0 {
		t.Errorf("got %d elements, want the text", got)
	}
	// And the browser would not have it otherwise.
	if got := eval[string](p,
		`(() => { try { document.body.innerHTML = "<b>x</b>"; return "done" } catch (e) {
			return e.name } })()`); got != "TypeError" {
		t.Errorf("got %q, want a TypeError: text is made HTML nowhere", got)
	}
	p.forgive("TrustedHTML")
}

// One click shows the members after the first page.
func testManyMembers(t *testing.T, b *browser) {
	n := start(t, "")
	alice := n.user("alice")
	var members []string
	for i := range 229 {
		members = append(members, fmt.Sprint("user-", i))
	}
	id := alice.general(t, "ops", members...).Channel.ID
	p := b.profile(t).page()
	p.signIn(n.url, alice)
	p.open(id)
	p.awaitText("#more-members", "Show more (30)")
	p.click("#more-members button")
	p.await(`document.querySelectorAll("#members li").length === 230`)
	p.await(`!document.querySelector("#more-members button")`)
	alice.add(t, id, "zoe")
	p.awaitText("#members-count", "231")
	p.await(`document.querySelectorAll("#members li").length === 231`) // the list does not become short again
}

// A message that is deleted while the page loads the history is not shown as it was.
func testChangeWhileLoading(t *testing.T, b *browser) {
	n := start(t, "")
	alice, bob := n.user("alice"), n.user("bob")
	id := alice.general(t, "ops", "bob").Channel.ID
	said := bob.post(t, id, "the password is 1234")
	p := b.profile(t).page()
	p.signIn(n.url, alice)
	eval[bool](p, `(() => {
		const before = globalThis.fetch
		globalThis.fetch = async (...all) => {
			const answer = await before(...all)
			if (String(all[0]).includes("/messages?")) await new Promise((go) => { globalThis.go = go })
			return answer
		}
		return true
	})()`)
	p.click(`#channels a[href="#/` + id + `"]`)
	p.await("globalThis.go")
	call[body](t, bob, 200, "DELETE", "/api/messages/"+said.Message.ID, nil)
	p.await(`[...document.querySelectorAll("#frames code")].some((e) => e.textContent === "message.deleted")`)
	eval[bool](p, "(go(), true)")
	p.await(`document.querySelector("#messages .text")`)
	if got := p.messages(); len(got) != 1 || got[0] != "deleted" {
		t.Errorf("got %q, want the message deleted", got)
	}
}
