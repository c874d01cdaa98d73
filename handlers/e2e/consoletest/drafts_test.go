package consoletest

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// patient has the page wait for answers until giveUp.
func (p *page) patient() {
	p.t.Helper()
	eval[bool](p, `(() => {
		let waiting = new AbortController()
		AbortSignal.timeout = () => waiting.signal
		window.giveUp = () => {
			waiting.abort(new DOMException("", "TimeoutError"))
			waiting = new AbortController()
		}
		return true
	})()`)
}

// giveUp has the requests of a patient page time out.
func (p *page) giveUp() {
	p.t.Helper()
	eval[bool](p, `(() => { giveUp(); return true })()`)
}

// A server that takes requests and does not answer: a text comes back to its writer, and a page says what it
// waits for.
func testHangs(t *testing.T, b *browser) {
	_, way, alice, w := channelByProxy(t)
	f := b.profile(t)
	p := f.page()
	p.expectRefusals()
	p.signIn(way.url, alice)
	p.open(w.id)
	p.patient()
	letThrough := way.holdBack(t)
	p.write("#text", "first")
	p.enter()
	p.await(`document.querySelector("#composer").hasAttribute("aria-busy")`)
	p.write("#text", "second")
	p.giveUp()
	p.awaitText("#composer-problem", "does not answer")
	p.await(`document.querySelector("#text").value === "first\nsecond"`)

	other := f.page()
	other.expectRefusals()
	other.visit(way.url)
	other.awaitText("#trouble", "Waiting for the server")
	letThrough()
	other.awaitText("#me", "alice")
	other.await(`document.querySelector("#trouble").hidden`)
	p.do(chromedp.Focus(chromedp.CSS("#text")))
	p.enter()
	p.awaitText("#messages", "second")
}

// What is being written stays, whatever happens around it.
func testDrafts(t *testing.T, b *browser) {
	_, way, alice, w := channelByProxy(t)
	elsewhere := alice.general(t, "elsewhere").Channel.ID
	p := b.profile(t).page()
	p.signIn(way.url, alice)
	p.open(w.id)

	letThrough := way.holdBack(t)
	p.write("#text", "one")
	p.enter()
	p.write("#text", "half of")
	p.click(`#channels a[href="#/` + elsewhere + `"]`)
	p.await(`document.querySelector("#text").value === ""`)
	letThrough()
	p.await(`!document.querySelector("#composer").hasAttribute("aria-busy")`) // the first has been said
	p.open(w.id)
	p.awaitText("#messages", "one")
	p.await(`document.querySelector("#text").value === "half of"`)

	// An edit, while what it replies to changes.
	said := w.u.post(t, w.id, "a question")
	call[posted](t, alice, 201, "POST", "/api/channels/"+w.id+"/messages",
		body{"content": "an answer", "replyTo": said.Message.ID})
	p.awaitText(p.message("an answer", ".reply"), "a question")
	p.click(p.message("an answer", "[aria-label^=Edit]"))
	p.write("#messages textarea", ", at length")
	w.u.edit(t, said.Message.ID, "another question")
	p.awaitText(p.message("another question", ".text"), "another question")
	if got := strings.TrimSpace(
		eval[string](p, `document.querySelector("#messages textarea")?.value ?? ""`),
	); got != "an answer, at length" {
		t.Errorf("got %q in the edit, want it as it was", got)
	}
	p.press("\x1b")
	p.awaitText(p.message("an answer", ".reply"), "another question")
}

// A text whose answer was lost is posted once, also if its writer posts elsewhere in between. If its channel
// is not open any more, the page says that it was not sent.
func testNotSent(t *testing.T, b *browser) {
	_, way, alice, w := channelByProxy(t)
	elsewhere := alice.general(t, "elsewhere").Channel.ID
	p := b.profile(t).page()
	p.expectRefusals()
	p.signIn(way.url, alice)
	p.open(w.id)
	way.set(func() { way.swallow = true })
	p.write("#text", "once")
	p.enter()
	p.awaitText("#composer-problem", "posted only once")
	way.set(func() { way.swallow = false })
	p.open(elsewhere)
	p.write("#text", "another")
	p.enter()
	p.awaitText("#messages", "another")
	p.open(w.id)
	p.await(`document.activeElement.id === "text" && document.activeElement.value === "once"`)
	p.enter()
	p.await(`document.querySelector("#text").value === ""`)
	p.await(`!document.querySelector("#composer").hasAttribute("aria-busy")`)
	p.do(chromedp.Reload())
	p.awaitText("#messages", "once")
	if got := p.messages(); len(got) != 1 {
		t.Errorf("got %q, want the message once", got)
	}

	eval[bool](p, `(() => {
		const before = globalThis.fetch
		globalThis.fetch = async (...all) => {
			if (!String(all[0]).endsWith("/messages")) return before(...all)
			await new Promise((go) => { globalThis.go = go })
			throw new TypeError("the network is down")
		}
		return true
	})()`)
	p.write("#text", "lost")
	p.enter()
	p.await("globalThis.go")
	p.open(elsewhere)
	eval[bool](p, "(go(), true)")
	p.awaitText("#composer-problem", "What you wrote in ops was not sent")
}
