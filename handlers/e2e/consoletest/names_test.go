package consoletest

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/chromedp/chromedp"
)

// People see names, with the id behind them, and a mark for agents. What they write after @ becomes a
// mention.
func testNames(t *testing.T, b *browser) {
	n := start(t, "")
	alice, bob, bot := n.user("alice"), n.user("bob"), n.user("log-agent")
	call[body](t, bot, 200, "PATCH", "/api/me", body{"displayName": "Log agent", "kind": "agent"})
	id := alice.general(t, "ops", "bob", "log-agent").Channel.ID
	ann, ben := b.profile(t).page(), b.profile(t).page()
	ann.signIn(n.url, alice)
	ann.open(id)
	ben.signIn(n.url, bob)
	ben.open(id)
	ann.awaitText("#members .name [title=log-agent]", "Log agent")
	ann.awaitText("#members .mark.agent", "agent")

	ben.click("#me")
	ben.write("#p-name", "alice")
	ben.expectRefusals()
	ben.enter()
	ben.awaitText("#field-displayName .problem", "is the id of another user")
	ben.clear("#p-name")
	ben.write("#p-name", "Bob Fisher")
	ben.enter()
	ben.awaitText("#me", "Bob Fisher")
	bob.post(t, id, "it is me")
	ann.awaitText(ann.message("it is me", "[title=bob]"), "Bob Fisher")
	ann.awaitText("#members [title=bob]", "Bob Fisher")

	ann.write("#text", "ask @log")
	ann.awaitText("#suggestions", "@Log agent")
	ann.press("\t")
	ann.write("#text", "or @bob fisher. Not `@bob`, and not me@bob.example")
	ann.enter()
	ann.awaitText(ann.message("ask", ".mention[title=log-agent]"), "@Log agent")
	ann.awaitText(ann.message("ask", ".mention[title=bob]"), "@Bob Fisher")
	ben.awaitText(ben.message("ask", ".outcome"), "woke you · mention")
	a, err := alice.do("GET", "/api/channels/"+id+"/messages?limit=1", nil)
	var page struct {
		Items []struct{ Content string } `json:"items"`
	}
	if err == nil {
		err = json.Unmarshal(a.body, &page)
	}
	if want := "ask <@log-agent> or <@bob>. Not `@bob`, and not me@bob.example"; err != nil ||
		page.Items[0].Content != want {
		t.Errorf("got %s %v, want %q", a.body, err, want)
	}
	ann.click(ann.message("ask", "[aria-label^=Edit]"))
	ann.await(
		`document.querySelector("#messages textarea").value.startsWith("ask @Log agent or @Bob Fisher.")`,
	)
}

// A line above a reply says what it answers, and leads there, however far back that is.
func testReplies(t *testing.T, b *browser) {
	n := start(t, "")
	alice, bob := n.user("alice"), n.user("bob")
	id := alice.general(t, "ops", "bob").Channel.ID
	first := alice.post(t, id, "who **restarted** cart-service?")
	for range 70 {
		bob.post(t, id, "something else")
	}
	call[posted](t, bob, 201, "POST", "/api/channels/"+id+"/messages",
		body{"content": "it was me", "replyTo": first.Message.ID})
	p := b.profile(t).page()
	p.signIn(n.url, alice)
	p.open(id)
	p.awaitText(p.message("it was me", ".reply"), "in reply to alice: who restarted cart-service?")
	p.click(p.message("it was me", ".reply a"))
	p.await(`document.activeElement.dataset.id === "` + first.Message.ID + `"`)
	p.await(`(() => {
		const [message, scroller] = [document.activeElement, document.querySelector("#scroller")].map((e) =>
			e.getBoundingClientRect())
		return message.top >= scroller.top && message.bottom <= scroller.bottom
	})()`)
	p.do(chromedp.Reload()) // the address is that of the message
	p.await(`document.activeElement.dataset.id === "` + first.Message.ID + `"`)
}

// A letter may be longer in lower case. A name with such a letter is a mention, and what follows it stays.
func testNameLengths(t *testing.T, b *browser) {
	n := start(t, "")
	alice, bob := n.user("alice"), n.user("bob")
	call[body](t, bob, 200, "PATCH", "/api/me", body{"displayName": "İrem"})
	id := alice.general(t, "ops", "bob").Channel.ID
	p := b.profile(t).page()
	p.signIn(n.url, alice)
	p.open(id)
	p.awaitText("#members", "İrem")
	eval[bool](p, `(() => {
		document.querySelector("#text").value = "ask @İrem, please"
		document.querySelector("#composer").requestSubmit()
		return true
	})()`)
	p.awaitText(p.message("ask", ".mention"), "@İrem")
	p.awaitText("#messages", "ask @İrem, please")
}

// The line above a reply does not keep a text that was deleted. Its link leads there each time.
func testReplyToDeleted(t *testing.T, b *browser) {
	n := start(t, "")
	alice, bob := n.user("alice"), n.user("bob")
	id := alice.general(t, "ops", "bob").Channel.ID
	first := bob.post(t, id, "the password is 1234")
	for range 70 {
		bob.post(t, id, "something else")
	}
	call[posted](t, bob, 201, "POST", "/api/channels/"+id+"/messages",
		body{"content": "never mind", "replyTo": first.Message.ID})
	p := b.profile(t).page()
	p.signIn(n.url, alice)
	p.open(id)
	p.awaitText(p.message("never mind", ".reply"), "1234")
	p.click(p.message("never mind", ".reply a"))
	p.click(p.message("1234", "[aria-label^=Answer]"))
	p.awaitText("#replying", "Your answer to bob: the password is 1234")
	call[body](t, bob, 200, "DELETE", "/api/messages/"+first.Message.ID, nil)
	p.awaitText(p.message("never mind", ".reply"), "deleted")
	p.awaitText("#replying", "Your answer to bob: deleted")
	for range 2 {
		p.click(p.message("never mind", ".reply a"))
		p.await(`document.activeElement.dataset.id === "` + first.Message.ID + `"`)
		eval[bool](p, `(() => {
			document.activeElement.blur()
			document.querySelector("#scroller").scrollTop = 1e6
			return true
		})()`)
	}
}

// The page knows the first 200 members. It suggests the others too, and a name that was typed or pasted at
// once is a mention: otherwise the message would wake everyone.
func testLargeChannel(t *testing.T, b *browser) {
	n := start(t, "")
	alice, zelda := n.user("alice"), n.user("zelda")
	call[body](t, zelda, 200, "PATCH", "/api/me", body{"displayName": "Zelda Zimmer"})
	var members []string
	for i := range 229 {
		members = append(members, fmt.Sprint("user-", i))
	}
	id := alice.general(t, "ops", members...).Channel.ID
	alice.add(t, id, "zelda")
	p := b.profile(t).page()
	p.signIn(n.url, alice)
	p.open(id)
	p.awaitText("#more-members", "Show more (31)")
	p.write("#text", "ask @zel")
	p.awaitText("#suggestions", "@Zelda Zimmer")
	p.press("\t")
	p.enter()
	p.awaitText(p.message("ask", ".mention[title=zelda]"), "@Zelda Zimmer")
	for _, text := range []string{"and @user-228, please", "or @zelda zimmer?"} {
		p.paste("#text", text)
		p.enter()
		p.awaitText(p.message(text[:4], ".outcome"), "(mention)")
	}
}
