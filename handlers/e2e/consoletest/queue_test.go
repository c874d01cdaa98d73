package consoletest

import (
	"fmt"
	"strings"
	"testing"
)

// text returns the text of an element, with single spaces.
func (p *page) text(selector string) string {
	p.t.Helper()
	return eval[string](p, fmt.Sprintf(`document.querySelector(%q).innerText.replace(/\s+/g, " ")`, selector))
}

// The queue of an agent is beside the channel: what it works on, what failed and why. Its work can be
// stopped, tried again and dropped, with the keyboard too.
func testQueue(t *testing.T, b *browser) {
	n := start(t, "")
	alice, bot := n.user("alice"), n.user("bot")
	id := alice.general(t, "ops", "bot").Channel.ID
	bot.claim(t, 0)
	alice.post(t, id, "look into the logs")
	w := bot.wake(t)
	ann, own := b.profile(t).page(), b.profile(t).page()
	ann.signIn(n.url, alice)
	ann.open(id)
	ann.awaitText(ann.message("look into", ".work"), "bot works on it")
	ann.await(`document.querySelector("#queue").hidden`) // people have no queue
	own.signIn(n.url, bot)
	own.awaitText("#queue-rows", "in work ops")
	own.open(id)

	ann.click(ann.message("look into", ".work button"))
	ann.await(`document.querySelector("#announcer").textContent === "bot was asked to stop"`)
	ann.awaitText(ann.message("look into", ".work"), "bot works on it (asked to stop)")
	bot.extend(t, w, "stopping")
	ann.awaitText(ann.message("look into", ".work"), "bot works on it (asked to stop): stopping")
	own.click("#queue-rows button")
	own.awaitText("#queue-rows", "asked to stop")
	if a, err := bot.do("POST", "/api/wakes/"+w.ID+"/nack",
		body{"error": "asked to <b>stop</b>"}); err != nil || a.status != 204 {
		t.Fatalf("got %d %s %v, want the wake given back", a.status, a.body, err)
	}
	own.await(`location.reload() ?? true`)
	own.awaitText("#queue-rows", "stopped ops")
	if got := own.text("#queue-rows"); !strings.Contains(got, "asked to <b>stop</b>") {
		t.Errorf("got %q, want the error as it was given", got)
	}
	own.await(`document.querySelector("#queue-rows button").focus() ?? true`)
	own.enter() // Retry
	own.awaitText("#queue-rows", "waits ops")
	own.await(`document.activeElement.id === "details"`) // the button is gone

	for range 5 {
		w = bot.wake(t)
		if a, err := bot.do("POST", "/api/wakes/"+w.ID+"/nack", body{"error": "no logs here"}); err != nil ||
			a.status != 204 {
			t.Fatalf("got %d %s %v, want the wake given back", a.status, a.body, err)
		}
		n.exec(t, "UPDATE wakes SET not_before = NULL")
	}
	own.awaitText("#queue-rows", "failed ops") // wake.dead brings it
	own.awaitText("#queue-rows", "no logs here")
	ann.awaitText(ann.message("look into", ".work"), "bot gave up after all attempts")
	own.click("#queue-rows button:last-child")
	own.awaitText("#confirm", "Drop this work?")
	own.click("#confirm .primary")
	own.await(`document.querySelector("#queue").hidden && document.activeElement.id === "details"`)
}
