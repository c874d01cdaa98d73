package consoletest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

func (u *user) does(t *testing.T, channel, kind, text string) {
	t.Helper()
	call[body](t, u, 202, "POST", "/api/channels/"+channel+"/activity",
		body{"kind": kind, "text": text, "ttlSeconds": 60})
}

// People see who types or thinks, and drafts as they grow. Nothing on the page moves meanwhile, and the
// message takes the place of its draft.
func testActivity(t *testing.T, b *browser) {
	n := start(t, "")
	alice, bob, bot := n.user("alice"), n.user("bob"), n.user("bot")
	id := alice.general(t, "ops", "bob", "bot").Channel.ID
	alice.post(t, id, "<@bot>, what do the logs say?")
	ann, ben := b.profile(t).page(), b.profile(t).page()
	ann.signIn(n.url, alice)
	ann.open(id)
	ben.signIn(n.url, bob)
	ben.open(id)
	ben.write("#text", "l")
	ann.awaitText("#doing", "bob types …")
	ben.clear("#text")
	eval[bool](ben, `document.querySelector("#text").dispatchEvent(new Event("input"))`)
	ann.await(`document.querySelector("#doing").innerText === ""`)

	bot.does(t, id, "thinking", "")
	ann.awaitText("#doing", "bot thinks …")
	bot.does(t, id, "draft", "318 failures")
	ann.awaitText("#drafts .draft", "318 failures")
	const distance = `(() => { const [text, box] = ["#drafts .draft span", "#drafts .draft"].map((s) =>
		document.querySelector(s).getBoundingClientRect().%s)
		return Math.abs(text - box) })()`
	if eval[float64](ann, fmt.Sprintf(distance, "top")) >= 2 {
		t.Error("got a gap above a short draft, want it right below its author")
	}
	ann.await(`document.querySelector("#doing").innerText === ""`)
	ann.await(`(() => {
		globalThis.moved = 0
		new PerformanceObserver((list) => list.getEntries().flatMap((e) => e.sources).forEach(({ node }) => {
			const element = node instanceof Element ? node : node?.parentElement
			if (!element?.closest(".draft")) moved++ // within its box, a draft may
		})).observe({ type: "layout-shift" })
		globalThis.places = () =>
			JSON.stringify([...document.querySelectorAll("#messages li, #composer, #drafts li")].map((e) =>
				e.getBoundingClientRect()))
		globalThis.before = places()
		return true
	})()`)
	for _, part := range []string{
		" of one kind", strings.Repeat(", all alike", 100),
		"\nand more\n\n\n\nlines, at last",
	} {
		bot.does(t, id, "draft", "318 failures"+part)
	}
	ann.awaitText("#drafts .draft", "at last")
	if !eval[bool](ann, "places() === before") || eval[int](ann, "moved") > 0 {
		t.Error("got a page that moves while a draft grows")
	}
	if eval[float64](ann, fmt.Sprintf(distance, "bottom")) >= 2 {
		t.Error("got another part of the draft, want its end")
	}
	bot.post(t, id, "318 failures, that is all")
	ann.awaitText("#messages", "that is all")
	ann.await(`!document.querySelector("#drafts li")`)
	bot.does(t, id, "draft", "and")
	ann.awaitText("#drafts", "and")
	bot.does(t, id, "idle", "")
	ann.await(`!document.querySelector("#drafts li")`)
	if got := eval[string](ann, `document.querySelector("#resumed").innerText`); strings.Contains(got,
		"duplicate") && !strings.Contains(got, "no duplicates") {
		t.Errorf("got %q: activity is no event of the log", got)
	}

	// Work shows as it is taken and ended, while the page is open.
	bot.claim(t, 0)
	alice.post(t, id, "<@bot>, and the disks?")
	w := bot.wake(t)
	ann.awaitText(ann.message("and the disks", ".work"), "bot works on it")
	bot.extend(t, w, "counting")
	ann.awaitText(ann.message("and the disks", ".work"), "bot works on it: counting")
	call[posted](t, bot, 201, "POST", "/api/channels/"+id+"/messages",
		body{"content": "half full", "wakeId": w.ID})
	ann.await(fmt.Sprintf(`!document.querySelector(%q)`, ann.message("and the disks", ".work")))
}

// What was not read has a badge, also after a reload, and a line in the channel. What was read in one browser
// is read in the other.
func testUnread(t *testing.T, b *browser) {
	n := start(t, "")
	alice, bob := n.user("alice"), n.user("bob")
	ops, lunch := alice.general(t, "ops", "bob", "carol").Channel.ID,
		alice.general(t, "lunch", "bob").Channel.ID
	bob.post(t, ops, "an old one")
	first, second := b.profile(t).page(), b.profile(t).page()
	first.signIn(n.url, alice)
	first.open(ops)
	first.awaitText("#messages", "an old one")
	first.await(
		`fetch("api/channels?unread=true").then((r) => r.json()).then((a) => a.items.every((c) =>
			c.unread === 0))`,
	)
	first.open(lunch)
	bob.post(t, ops, "<@alice>, one")
	bob.post(t, ops, "<@carol> only")
	first.awaitText("#channels .count", "1\nof 2 new messages woke you")
	first.do(chromedp.Reload())
	first.awaitText("#channels .count", "1\nof 2 new messages woke you")
	second.signIn(n.url, alice)
	second.awaitText("#channels .count", "1\nof 2 new messages woke you")

	second.open(ops)
	second.awaitText("#messages", "only")
	if got := eval[string](second,
		`document.querySelector(".day.fresh").closest("li")
			.querySelector(".text").innerText`); got != "@alice, one" {
		t.Errorf("got the line above %q, want it above the first new message", got)
	}
	first.await(`!document.querySelector("#channels .count")`) // channel.read
	first.do(chromedp.Reload())
	first.awaitText("#stream-state", "Live")
	first.await(`!document.querySelector("#channels .count")`)
	first.open(ops)
	first.awaitText("#messages", "only")
	first.await(`!document.querySelector(".day.fresh")`)
}

// A search finds messages of all channels by their words, and a hit leads to the message in its place.
func testSearch(t *testing.T, b *browser) {
	n := start(t, "")
	alice, bob := n.user("alice"), n.user("bob")
	ops, lunch := alice.general(t, "ops", "bob").Channel.ID, alice.general(t, "lunch", "bob").Channel.ID
	found := bob.post(t, ops, "the <b>disk</b> of cart-7 is full")
	for range 60 {
		bob.post(t, ops, "something else")
	}
	bob.post(t, lunch, "no disks here")
	p := b.profile(t).page()
	p.signIn(n.url, alice)
	p.open(lunch)
	// it is indexed soon
	p.await(`fetch("api/search?q=disk").then((r) => r.json()).then((a) => a.items.length === 1)`)
	p.write("#search-text", "disk full")
	p.enter()
	p.awaitText("#hits", "ops")
	p.awaitText("#hits", "bob")
	p.awaitText("#hits mark", "full")
	if got := p.text("#hits .snippet"); !strings.Contains(got, "the <b>disk</b> of cart-7 is full") {
		t.Errorf("got %q, want the text as it was written", got)
	}
	p.await(`document.activeElement.closest("#hits")`)
	p.enter()
	p.awaitText("#room-name", "ops")
	p.await(`document.activeElement.dataset.id === "` + found.Message.ID + `"`)

	p.clear("#search-text")
	p.write("#search-text", "nowhere")
	p.enter()
	p.awaitText("#search-status", "Nothing was found.")
	p.press("\x1b")
	p.expectRefusals()
	p.clear("#search-text")
	p.write("#search-text", "?!")
	p.enter()
	p.await(`document.querySelector("#search-problem").checkVisibility()`)
}

// The creator renames a channel, bounds whom its messages wake, and archives it.
func testSettings(t *testing.T, b *browser) {
	n := start(t, "")
	alice, bob := n.user("alice"), n.user("bob")
	id := alice.general(t, "ops", "bob").Channel.ID
	ann, ben := b.profile(t).page(), b.profile(t).page()
	ann.signIn(n.url, alice)
	ann.open(id)
	ben.signIn(n.url, bob)
	ben.open(id)
	ben.await(`document.querySelector("#members li") && document.querySelector("#change-channel").hidden`)

	ann.click("#change-channel")
	ann.clear("#s-name")
	ann.expectRefusals()
	ann.enter()
	ann.awaitText("#setting-name .problem", "1 to 100 characters")
	ann.write("#s-name", "operations")
	ann.choose("#s-human", "mentions")
	ann.clear("#s-loop")
	ann.write("#s-loop", "3")
	ann.click("#settings .primary")
	ann.awaitText("#room-name", "operations")
	ben.awaitText("#channels", "operations")
	ben.awaitText("#room-about", "those of people: only who is mentioned")
	alice.post(t, id, "good morning")
	ben.awaitText(ben.message("good morning", ".outcome"), "did not wake you · not_addressed")
	ann.click("#change-channel")
	ann.await(
		`document.querySelector("#s-human").value === "mentions" &&
			document.querySelector("#s-loop").value === "3"`,
	)
	ann.click("#archive")
	ann.awaitText("#confirm", "Archive #operations?")
	ann.click("#confirm .primary")
	ann.await(`document.querySelector("#composer").hidden`)
	ann.await(`document.activeElement.id === "details"`) // the button of the settings is gone
	ben.await(`document.querySelector("#composer").hidden`)
	ben.awaitText("#room-about", "archived")

	ben.do(chromedp.Navigate(n.url + "/#/"))
	ben.do(chromedp.Reload()) // the list of channels does not have it any more
	ben.awaitText("#no-channels", "You are in no channel")
	ben.click("#find-archived")
	ben.click("#archived-channels a")
	ben.awaitText("#messages", "good morning")
	ben.awaitText("#room-name", "operations")
}

// Drafts of two agents keep their places while they grow, and stay in view for a reader at the end.
func testTwoDrafts(t *testing.T, b *browser) {
	n := start(t, "")
	alice, one, two := n.user("alice"), n.user("agent-1"), n.user("agent-2")
	id := alice.general(t, "ops", "agent-1", "agent-2").Channel.ID
	for i := range 40 {
		alice.post(t, id, fmt.Sprint("message ", i))
	}
	p := b.profile(t).page()
	p.signIn(n.url, alice)
	p.open(id)
	p.awaitText("#messages", "message 39")
	one.does(t, id, "draft", "one")
	p.awaitText("#drafts .draft", "one")
	two.does(t, id, "draft", "two")
	p.awaitText("#drafts .draft", "two")
	one.does(t, id, "draft", "one more")
	p.awaitText("#drafts .draft", "one more")
	if got := eval[string](p, `[...document.querySelectorAll("#drafts .draft")].map((e) =>
		e.innerText.trim()).join()`); got != "one more,two" {
		t.Errorf("got the drafts %q, want them in their old order", got)
	}
	p.await(`(() => {
		const [draft, scroller] = ["#drafts li:last-child", "#scroller"].map((s) =>
			document.querySelector(s).getBoundingClientRect())
		return draft.bottom <= scroller.bottom
	})()`)
	one.post(t, id, "done")
	p.awaitText("#messages", "done")
	p.await(`document.querySelector("#newest").hidden`)
}

// What came below the messages in view is not read: the channel has a badge, also once another one is open.
func testUnreadBelow(t *testing.T, b *browser) {
	n := start(t, "")
	alice, bob := n.user("alice"), n.user("bob")
	ops, lunch := alice.general(t, "ops", "bob").Channel.ID, alice.general(t, "lunch").Channel.ID
	for i := range 40 {
		bob.post(t, ops, fmt.Sprint("message ", i))
	}
	p := b.profile(t).page()
	p.signIn(n.url, alice)
	p.open(ops)
	p.awaitText("#messages", "message 39")
	eval[int](p, "document.querySelector('#scroller').scrollTop = 0")
	bob.post(t, ops, "below")
	p.awaitText("#newest", "A new message")
	p.open(lunch)
	p.awaitText("#channels .count", "1")
	p.open(ops)
	p.await(`!document.querySelector("#channels .count")`)
}
