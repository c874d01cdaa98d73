package consoletest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// message selects what is in the message with a text.
func (p *page) message(text, selector string) string {
	p.t.Helper()
	p.awaitText("#messages .text", text)
	id := eval[string](p, fmt.Sprintf(
		`[...document.querySelectorAll("#messages li")].find((e) => e.innerText.includes(%q)).dataset.id`,
		text,
	))
	return fmt.Sprintf(`#messages li[data-id="%s"] %s`, id, selector)
}

func testTalk(t *testing.T, b *browser) {
	n := start(t, "")
	alice, bob := n.user("alice"), n.user("bob")
	id := alice.general(t, "ops", "bob", "carol").Channel.ID
	ann, ben := b.profile(t).page(), b.profile(t).page()
	ann.signIn(n.url, alice)
	ben.signIn(n.url, bob)
	ann.open(id)
	ben.open(id)

	ann.write("#text", "hi @b")
	ann.awaitText("#suggestions", "@bob")
	ann.press("\t")
	ann.write("#text", "are you there?")
	ann.enter()
	ben.awaitText(ben.message("are you there?", ".mention.me"), "@bob")
	ben.awaitText(ben.message("are you there?", ".outcome"), "woke you · mention")
	ann.awaitText(ann.message("are you there?", ".outcome"), "woke bob (mention)")
	// what a screen reader says
	ben.await(`document.querySelector("#announcer").textContent === "alice: hi @bob are you there?"`)
	if got := eval[string](ann, "document.querySelector('#text').value"); got != "" {
		t.Errorf("got %q in the box, want it empty", got)
	}

	ben.write("#text", "I am, <@alice>")
	ben.enter()
	ann.awaitText(ann.message("I am", ".outcome"), "woke you · mention")
	ann.click(ann.message("I am", ".actions button"))
	ann.awaitText(ann.message("I am", ".deliveries"), "not_addressed")
	want := []string{"alice woken mention", "bob skipped author", "carol observes not_addressed"}
	rows := eval[string](ann, fmt.Sprintf(`[...document.querySelectorAll(%q)].map((r) =>
		[r.cells[0].innerText, r.cells[1].innerText,
			r.cells[2].querySelector("code").innerText].join(" ")).join("\n")`,
		ann.message("I am", ".deliveries tbody tr")))
	if diff := cmp.Diff(want, strings.Split(rows, "\n")); diff != "" {
		t.Errorf("deliveries (-want +got):\n%s", diff)
	}

	ben.click(ben.message("I am", "[aria-label^=Edit]"))
	ben.write("#messages textarea", "!")
	ben.enter()
	ann.awaitText(ann.message("I am, @alice!", ".edited"), "edited")
	ann.click(ann.message("are you there?", "[aria-label^=Delete]"))
	ann.awaitText("#confirm", "Delete this message?")
	ann.press("\x1b") // Escape: not after all
	ann.await("!document.querySelector('#confirm').open")
	ann.click(ann.message("are you there?", "[aria-label^=Delete]"))
	ann.click("#confirm .primary")
	ben.await(`document.querySelector("#messages .text").innerText === "deleted"`)
	if got := eval[int](ben, `document.querySelectorAll("#messages [aria-label^=Edit]").length`); got != 1 {
		t.Errorf("got %d messages that bob may edit, want his own", got)
	}

	ann.expectRefusals()
	ann.write("#text", "/nonsense")
	ann.enter()
	ann.awaitText("#composer-problem", "This is not a command")
	if got := eval[string](ann, "document.querySelector('#text').value"); got != "/nonsense" {
		t.Errorf("got %q in the box, want what was refused", got)
	}
	ann.clear("#text")
	ann.write("#text", "/he")
	ann.awaitText("#suggestions", "/help")
	ann.press("\t")
	ann.enter()
	ann.awaitText("#composer-notice", "/me TEXT")
	ann.write("#text", "/me waves")
	ann.enter()
	ben.awaitText(".text.action", "alice waves")

	other := bob.general(t, "elsewhere", "alice").Channel.ID
	bob.post(t, other, "<@alice>, here")
	bob.post(t, other, "only <@carol> knows")
	ann.awaitText("#channels .count.woke", "2") // carol is none of its members: everyone
	ann.await(`document.title.startsWith("(2) ")`)
	ann.open(other)
	ann.await(`!document.querySelector("#channels .count")`)
	ann.awaitText("#messages", "only @carol knows")
	if got, want := ann.messages(), []string{"@alice, here", "only @carol knows"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func testTurns(t *testing.T, b *browser) {
	n := start(t, "")
	alice, bob := n.user("alice"), n.user("bob")
	id := alice.create(t, body{
		"guildId": "g1", "name": "discuss", "xType": "discuss",
		"memberUserIds": []string{"bob", "carol"},
	}).Channel.ID
	p := b.profile(t).page()
	p.signIn(n.url, bob)
	p.open(id)
	p.awaitText("#turn-of", "It is alice’s turn")
	alice.post(t, id, "over to you")
	p.awaitText("#turn-of", "It is your turn")
	p.awaitText(p.message("over to you", ".outcome"), "woke you · turn")
	p.click("#turn-actions button") // Pass
	p.awaitText("#turn-of", "It is carol’s turn")
	p.awaitText("#members li:nth-child(3)", "turn")
	p.write("#text", "/turn alice")
	p.enter()
	p.awaitText("#composer-notice", "It is alice’s turn")
	p.awaitText("#turn-of", "It is alice’s turn")
	call[body](t, alice, 200, "POST", "/api/channels/"+id+"/turn", body{"action": "pause"})
	p.awaitText("#turn-of", "paused")
	p.click("#turn-actions button:nth-child(2)") // Resume
	p.await(`!document.querySelector("#turn-of").innerText.includes("paused")`)
}

func testDuty(t *testing.T, b *browser) {
	n := start(t, "")
	alice, bob := n.user("alice"), n.user("bob")
	id := alice.create(t, body{
		"guildId": "g1", "name": "triage", "xType": "triage", "memberUserIds": []string{"bob", "carol"},
		"wakeUserIds": []string{"carol"},
	}).Channel.ID
	ann, ben := b.profile(t).page(), b.profile(t).page()
	ann.signIn(n.url, alice)
	ann.open(id)
	ben.signIn(n.url, bob)
	ben.open(id)
	ann.awaitText("#duty", "On duty: carol")
	ben.awaitText("#triage-note", "You are not on duty here")
	if got := eval[int](ben, `document.querySelectorAll("#members button").length`); got != 0 {
		t.Errorf("got %d buttons, want none: duty is the creator's to set", got)
	}
	ann.click("#members li:nth-child(2) button")
	ben.awaitText("#duty", "On duty: carol, bob")
	alice.post(t, id, "it burns")
	ben.awaitText(ben.message("it burns", ".outcome"), "woke you · on_duty")
}

// People see who works on a message, what the agent says it does, and, of messages from before the page was
// opened, whether they woke the reader.
func testWork(t *testing.T, b *browser) {
	n := start(t, "")
	alice, bot := n.user("alice"), n.user("bot")
	id := alice.general(t, "ops", "bot").Channel.ID
	bot.claim(t, 0)
	bot.post(t, id, "good morning")
	alice.post(t, id, "look into the logs")
	w := bot.wake(t)
	bot.extend(t, w, "reading 318 lines")
	p := b.profile(t).page()
	p.signIn(n.url, alice)
	p.open(id)
	p.awaitText(p.message("good morning", ".outcome"), "woke you · everyone")
	work := p.message("look into", ".work") // it moves the buttons below it, which clicks must not miss
	p.awaitText(work, "bot works on it: reading 318 lines")
	p.click(p.message("look into", ".actions button"))
	p.awaitText(p.message("look into", ".deliveries"), "works on it: reading 318 lines")
	call[posted](t, bot, 201, "POST", "/api/channels/"+id+"/messages",
		body{"content": "nothing unusual", "wakeId": w.ID})
	p.await(fmt.Sprintf("!document.querySelector(%q)", work))
	p.awaitText("#messages li:last-child", "nothing unusual")
	p.click(p.message("look into", ".actions button")) // closes
	p.click(p.message("look into", ".actions button"))
	p.awaitText(p.message("look into", ".deliveries"), "done")
}
