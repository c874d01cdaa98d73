package consoletest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// One Chromium for all: each test has its own node, and so its own origin.
func TestConsole(t *testing.T) {
	t.Parallel()
	b := openBrowser(t)
	for name, test := range map[string]func(*testing.T, *browser){
		"sign in and out":                testSession,
		"a token ends":                   testTokenEnds,
		"a session ends":                 testSessionEnds,
		"texts from right to left":       testDirections,
		"the first message":              testFirstMessage,
		"a quiet resume":                 testQuietResume,
		"below a prefix":                 testBelowAPrefix,
		"without TLS":                    testInsecure,
		"two users talk":                 testTalk,
		"who works on a message":         testWork,
		"the own queue":                  testQueue,
		"attacks in Markdown":            testAttacks,
		"Markdown":                       testMarkdown,
		"names and mentions":             testNames,
		"names in many alphabets":        testNameLengths,
		"mentions in a large channel":    testLargeChannel,
		"replies":                        testReplies,
		"a reply to a deleted message":   testReplyToDeleted,
		"what others do now":             testActivity,
		"drafts of two agents":           testTwoDrafts,
		"unread messages":                testUnread,
		"unread below what is in view":   testUnreadBelow,
		"search":                         testSearch,
		"settings of a channel":          testSettings,
		"the loop guard":                 testGuard,
		"hints":                          testHints,
		"turns":                          testTurns,
		"duty":                           testDuty,
		"create, join, leave":            testChannels,
		"more members than a page":       testManyMembers,
		"history":                        testHistory,
		"changes while it loads":         testChangeWhileLoading,
		"hostile texts":                  testHostileTexts,
		"cut and resume":                 testCut,
		"what comes twice":               testDoubled,
		"without shared workers":         testAlone,
		"tabs share a stream":            testTabs,
		"the worker dies":                testWorkerDies,
		"a proxy answers 502":            testBadGateway,
		"a connection dies in silence":   testSilence,
		"a cursor that is not honoured":  testReset,
		"an answer that does not come":   testNoAnswer,
		"a server that hangs":            testHangs,
		"nothing is kept":                testKeepsNothing,
		"what is being written":          testDrafts,
		"what was not sent":              testNotSent,
		"a channel is opened again":      testOpenAgain,
		"a channel of a server at fault": testOpenAtFault,
		"small windows":                  testSmall,
		"many channels":                  testManyChannels,
		"accessible to all, as axe sees": testAxe,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, b)
		})
	}
}

func testSession(t *testing.T, b *browser) {
	n := start(t, "")
	alice := n.user("alice")
	alice.general(t, "ops")
	f := b.profile(t)
	p := f.page()
	p.expectRefusals()
	p.visit(n.url)
	p.write("#token", "not a token")
	p.enter()
	p.awaitText("#sign-in-problem", "one line without spaces")
	p.clear("#token")
	p.write("#token", "wrong")
	p.enter()
	p.awaitText("#sign-in-problem", "not known")
	p.signIn(n.url, alice)
	p.awaitText("#channels", "ops")
	if got := eval[string](p, "document.cookie"); got != "" {
		t.Errorf("got the cookie %q in reach of scripts, want none", got)
	}
	if got := eval[string](p, "JSON.stringify({...localStorage, ...sessionStorage})"); strings.Contains(got,
		alice.token) {
		t.Errorf("got %s, want the token nowhere", got)
	}
	p.do(chromedp.Reload())
	p.awaitText("#me", "alice")
	other := f.page()
	other.expectRefusals() // of what it asks while the session ends
	other.visit(n.url)
	other.awaitText("#me", "alice")

	p.click("#sign-out")
	p.awaitText("#sign-in", "Sign in")
	other.awaitText("#sign-in", "Sign in") // and so is every tab
	if got := eval[int](p, "fetch('api/me').then((r) => r.status)"); got != 401 {
		t.Errorf("got %d, want 401: the cookie is gone", got)
	}
	p.signIn(n.url, n.user("bob"))
	other.awaitText("#me", "bob")
}

func testTokenEnds(t *testing.T, b *browser) {
	n := start(t, "")
	alice := n.user("alice")
	id := alice.general(t, "ops", "bob").Channel.ID
	p := b.profile(t).page()
	p.expectRefusals()
	p.do(chromedp.Navigate(n.url + "/#/" + id))
	p.await("!document.querySelector('#sign-in').hidden")
	problem := ""
	for life := 20 * time.Second; problem != "Your session has ended. Sign in again."; life *= 2 {
		if life > patience {
			t.Fatalf("got %q, want that the session has ended", problem)
		}
		token, err := n.tokens.Sign("alice", nil, life)
		if err != nil {
			t.Fatal(err)
		}
		p.clear("#token")
		eval[string](p, "document.querySelector('#sign-in-problem').textContent = ''")
		p.paste("#token", token)
		p.enter() // a slow browser comes here when the token has already expired
		p.await("document.querySelector('#sign-in-problem').innerText")
		problem = eval[string](p, "document.querySelector('#sign-in-problem').innerText")
	}
	p.paste("#token", alice.token)
	p.enter()
	p.awaitText("#stream-state", "Live")
	n.user("bob").post(t, id, "still there?")
	p.awaitText("#messages", "still there?") // the channel is open as before
}

// However a session ends, people read what they can do about it: the same whether the browser has dropped the
// cookie with the token, or the server finds the token expired.
func testSessionEnds(t *testing.T, b *browser) {
	n := start(t, "")
	alice := n.user("alice")
	expired := expiredCookie(t, n)
	p := b.profile(t).page()
	p.expectRefusals()
	for _, tt := range []struct{ name, cookie, want string }{
		{"no cookie", "", "Your session has ended. Sign in again."},
		{"an expired token", expired, "Your session has ended. Sign in again."},
		{"a token that is not known", "wrong", "Your token is no longer valid. Sign in with a new one."},
	} {
		p.signIn(n.url, alice)
		cookies, err := chromedp.Call(p.ctx, network.GetCookies,
			network.GetCookiesParams{URLs: []string{n.url}})
		if err != nil || len(cookies.Cookies) != 1 {
			t.Fatalf("got %v and error %v, want one cookie", cookies, err)
		}
		name := cookies.Cookies[0].Name
		if _, err := chromedp.Call(p.ctx, network.DeleteCookies,
			network.DeleteCookiesParams{Name: name, URL: n.url}); err != nil {
			t.Fatal(err)
		}
		if tt.cookie != "" {
			if _, err := chromedp.Call(p.ctx, network.SetCookie,
				network.SetCookieParams{Name: name, Value: tt.cookie, URL: n.url}); err != nil {
				t.Fatal(err)
			}
		}
		// This asks the server. On a slow machine, the page may have asked by itself before.
		p.await(`document.querySelector("#sign-in-problem").innerText !== "" ||
			document.querySelector("#find").checkVisibility() &&
				(document.querySelector("#find").click(), true)`)
		p.awaitText("#sign-in-problem", tt.want)
	}
}

// expiredCookie is the value of a session cookie whose token has expired.
func expiredCookie(t *testing.T, n *guild) string {
	t.Helper()
	var a answer
	for life := time.Second; a.status != 200; life *= 2 { // a slow machine needs longer to use the token
		token, err := n.tokens.Sign("alice", nil, life)
		if err != nil {
			t.Fatal(err)
		}
		a, err = (&user{g: n, id: "alice", token: token}).do("POST", "/api/session", nil)
		if err != nil || life > patience {
			t.Fatalf("got %v and error %v, want a session", a, err)
		}
	}
	value, _, _ := strings.Cut(a.header.Get("Set-Cookie"), ";")
	if !eventually(func() bool {
		me, err := (&user{g: n, id: "alice"}).do("GET", "/api/me", nil, "Cookie", value)
		return err == nil && strings.Contains(string(me.body), "token_expired")
	}) {
		t.Fatal("got no end of the token")
	}
	_, value, _ = strings.Cut(value, "=")
	return value
}

// A browser that keeps no cookies, or a token that is too long for one; and one that keeps nothing else.
func testKeepsNothing(t *testing.T, b *browser) {
	n := start(t, "")
	alice := n.user("alice")
	guilds := make([]string, 100) // each is in the token
	for i := range guilds {
		guilds[i] = fmt.Sprintf("01a20000-0000-7000-8000-%012d", i)
	}
	long, err := n.tokens.Sign("alice", guilds, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	p := b.profile(t).page()
	p.expectRefusals()
	p.visit(n.url)
	// typed, it would take a while
	eval[bool](p, fmt.Sprintf(`document.querySelector("#token").value = %q; true`, long))
	p.click("#sign-in button")
	p.awaitText("#sign-in-problem", "did not keep the session")

	other := b.profile(t).page()
	other.preload(
		`Object.defineProperty(globalThis, "localStorage", { get() { throw new Error("denied") } })`,
	)
	other.signIn(n.url, alice)
}

// Plain HTTP, but not on this machine: there a browser withholds what it has for secure contexts only.
func testInsecure(t *testing.T, b *browser) {
	_, way, alice, w := channelByProxy(t)
	url := strings.Replace(way.url, "127.0.0.1", "guild.test", 1)
	f := b.profile(t)
	first, second := f.page(), f.page()
	first.signIn(url, alice)
	first.await("!isSecureContext")
	first.open(w.id)
	second.visit(url)
	second.open(w.id)
	first.write("#text", "hi")
	first.enter()
	second.awaitText("#messages", "hi")
	first.awaitText("#tabs", "2 on one stream")
}

func testBelowAPrefix(t *testing.T, b *browser) {
	n := start(t, "/chat")
	alice, bob := n.user("alice"), n.user("bob")
	id := alice.general(t, "ops", "bob").Channel.ID
	p := b.profile(t).page()
	p.do(chromedp.Navigate(n.url)) // without the slash at the end
	p.signIn(n.url, alice)
	p.open(id)
	bob.post(t, id, "below a prefix")
	p.awaitText("#messages", "below a prefix")
}
