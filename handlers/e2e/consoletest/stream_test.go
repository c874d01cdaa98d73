package consoletest

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"
)

// A writer posts into a channel, again and again.
type writer struct {
	t     *testing.T
	u     *user
	id    string
	posts int
}

func (w *writer) post(count int) {
	w.t.Helper()
	for range count {
		w.u.post(w.t, w.id, fmt.Sprint("message ", w.posts))
		w.posts++
	}
}

// wantAll waits for the latest message, and wants all of them on a page: in order, each once.
func (w *writer) wantAll(pages ...*page) {
	w.t.Helper()
	want := make([]string, w.posts)
	for i := range want {
		want[i] = fmt.Sprint("message ", i)
	}
	for _, p := range pages {
		p.await(fmt.Sprintf(`[...document.querySelectorAll("#messages .text")].at(-1)?.innerText === %q`,
			want[len(want)-1]))
		if diff := cmp.Diff(want, p.messages()); diff != "" {
			w.t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

// channelByProxy is a channel that alice reads in the console and bob writes into, by way of a proxy.
func channelByProxy(t *testing.T) (n *guild, p *proxy, alice *user, w *writer) {
	t.Helper()
	n = start(t, "")
	alice = n.user("alice")
	return n, newProxy(t, n), alice,
		&writer{t: t, u: n.user("bob"), id: alice.general(t, "ops", "bob").Channel.ID}
}

func testCut(t *testing.T, b *browser) {
	n, _, alice, w := channelByProxy(t)
	p := b.profile(t).page()
	p.signIn(n.url, alice)
	p.open(w.id)
	w.post(3)
	w.wantAll(p)
	p.click("#cut")
	p.awaitText("#stream-state", "Cut")
	w.post(5)
	p.write("#text", "mine, while it is cut")
	p.enter()
	p.awaitText("#messages", "mine, while it is cut") // a post needs no stream
	n.settle(t)                                       // else some of it comes after stream.live
	p.click("#cut")
	p.awaitText("#resumed", "6 events in the backlog, no duplicates")
	p.awaitText("#resumed", "nothing is missing")
	p.await(`document.querySelectorAll("#messages li").length === 9`)
	if got, want := strings.Join(p.messages(), ", "), "message 6, message 7, mine, while "+
		"it is cut"; !strings.HasSuffix(got, want) {
		t.Errorf("got %q, want the order of the log, with %q at the end", got, want)
	}

	// Again and again, while messages come.
	w = &writer{t: t, u: w.u, id: alice.general(t, "busy", "bob").Channel.ID}
	p.open(w.id)
	var writing sync.WaitGroup
	writing.Go(func() { w.post(300) })
	for range 4 {
		p.click("#cut")
		p.awaitText("#stream-state", "Cut")
		p.click("#cut")
		p.awaitText("#stream-state", "Live")
	}
	writing.Wait()
	w.wantAll(p)
	p.awaitText("#resumed", "no duplicates")
}

// A resume that brings nothing still brings the position: the next one begins there, before that has left the
// log.
func testQuietResume(t *testing.T, b *browser) {
	n, _, alice, w := channelByProxy(t)
	p := b.profile(t).page()
	p.signIn(n.url, alice)
	elsewhere := w.u.general(t, "without alice").Channel.ID
	p.click("#cut")
	p.awaitText("#stream-state", "Cut")
	last := w.u.post(t, elsewhere, "alice does not hear this").Cursor
	n.settle(t)
	p.click("#cut")
	p.awaitText("#stream-state", "Live")
	p.awaitText("#cursor", last)
	p.click("#cut")
	p.awaitText("#stream-state", "Cut")
	p.awaitText("#cursor", last)
	p.click("#cut")
	p.awaitText("#resumed", "no events in the backlog, no duplicates")
}

func testTabs(t *testing.T, b *browser) {
	_, way, alice, w := channelByProxy(t)
	f := b.profile(t)
	first := f.page()
	first.signIn(way.url, alice)
	first.open(w.id)
	w.post(2)
	second, third := f.page(), f.page()
	for _, p := range []*page{second, third} {
		p.visit(way.url)
		p.awaitText("#me", "alice")
		p.open(w.id)
	}
	w.post(3)
	w.wantAll(first, second, third)
	third.awaitText("#tabs", "3 on one stream")
	first.close()
	w.post(3)
	w.wantAll(second, third)
	third.awaitText("#tabs", "2 on one stream")
	second.click("#cut")
	third.awaitText("#stream-state", "Cut") // it is the one of both
	w.post(2)
	third.click("#cut")
	w.wantAll(second, third)
	if opened, open, _ := way.counts(); opened != 2 || open != 1 {
		t.Errorf("got %d streams, %d of them still open, want 2, the second after the cut, and 1",
			opened, open)
	}
	f.worker() // the only one
}

// A browser without shared workers has a stream for each tab.
func testAlone(t *testing.T, b *browser) {
	_, way, alice, w := channelByProxy(t)
	f := b.profile(t)
	first, second := f.page(), f.page()
	for _, p := range []*page{first, second} {
		p.expectRefusals()
		p.preload("delete globalThis.SharedWorker")
	}
	first.signIn(way.url, alice)
	first.open(w.id)
	second.visit(way.url)
	second.open(w.id)
	w.post(2)
	way.cut()
	w.post(2)
	w.wantAll(first, second)
	first.awaitText("#tabs", "this one only")
	if _, open, _ := way.counts(); open != 2 {
		t.Errorf("got %d streams, want 2", open)
	}
}

// later has a page or worker believe that a time has passed.
func (p *page) later(seconds int) {
	p.t.Helper()
	eval[bool](p, fmt.Sprintf("(() => { const now = Date.now; Date.now = () => now() + %d; return true })()",
		seconds*1000))
}

func testWorkerDies(t *testing.T, b *browser) {
	_, way, alice, w := channelByProxy(t)
	f := b.profile(t)
	first, second := f.page(), f.page()
	first.signIn(way.url, alice)
	first.open(w.id)
	second.visit(way.url)
	second.open(w.id)
	w.post(2)
	w.wantAll(first, second)
	f.worker().close()
	if !eventually(func() bool { _, open, _ := way.counts(); return open == 0 }) {
		t.Fatal("got a stream that goes on, want it to end with the worker")
	}
	w.post(3)
	first.later(20)
	second.later(20)
	w.wantAll(first, second)
	first.awaitText("#tabs", "2 on one stream")
	if opened, open, _ := way.counts(); opened != 2 || open != 1 {
		t.Errorf("got %d streams, %d of them still open, want one after the other", opened, open)
	}
}

func testBadGateway(t *testing.T, b *browser) {
	n, way, alice, w := channelByProxy(t)
	f := b.profile(t)
	p := f.page()
	p.expectRefusals()
	p.signIn(way.url, alice)
	f.worker().expectRefusals()
	p.open(w.id)
	w.post(2)
	w.wantAll(p)
	way.fail(true)
	p.awaitText("#pill", "Reconnecting")
	w.post(4)
	p.awaitText("#stream-reason", "502")
	if !eventually(func() bool { _, _, refused := way.counts(); return refused >= 1 }) {
		t.Error("got no try")
	}
	p.write("#text", "into the void")
	p.enter()
	p.awaitText("#composer-problem", "502 Bad Gateway")
	n.settle(t)
	way.fail(false)
	p.awaitText("#stream-state", "Live")
	w.wantAll(p)
	p.awaitText("#resumed", "4 events in the backlog, no duplicates")
}

// A network that swallows everything, and tells nobody: what remains is that no heartbeat comes.
func testSilence(t *testing.T, b *browser) {
	n, way, alice, w := channelByProxy(t)
	f := b.profile(t)
	p := f.page()
	p.signIn(way.url, alice)
	p.open(w.id)
	w.post(2)
	w.wantAll(p)
	way.stall()
	w.post(3)
	if got := p.messages(); len(got) != 2 {
		t.Errorf("got %q, want nothing to come through", got)
	}
	n.settle(t)
	f.worker().later(41)
	w.wantAll(p)
	p.awaitText("#resumed", "3 events in the backlog, no duplicates")
}

func testReset(t *testing.T, b *browser) {
	n, way, alice, w := channelByProxy(t)
	p := b.profile(t).page()
	p.signIn(way.url, alice)
	p.open(w.id)
	w.post(2)
	w.wantAll(p)
	p.click("#cut")
	p.awaitText("#stream-state", "Cut")
	w.post(3)
	n.user("bob").general(t, "new", "alice")
	way.set(func() { way.forged = "1.1" }) // an epoch that never was
	p.click("#cut")
	p.awaitText("#stream-reason", "the position belongs to another database")
	w.wantAll(p)
	p.awaitText("#channels", "new")
	w.post(1)
	w.wantAll(p)
}

// No server doubles an event. What a proxy makes of the cursor could.
func testDoubled(t *testing.T, b *browser) {
	n, way, alice, w := channelByProxy(t)
	p := b.profile(t).page()
	p.signIn(way.url, alice)
	p.open(w.id)
	first := w.u.post(t, w.id, "message 0")
	w.posts = 1
	w.post(3)
	w.wantAll(p)
	p.click("#cut")
	p.awaitText("#stream-state", "Cut")
	w.post(2)
	n.settle(t)
	way.set(func() { way.forged = first.Cursor })
	p.click("#cut")
	p.awaitText("#resumed", "5 events in the backlog, 3 duplicates")
	w.wantAll(p)
}

func testNoAnswer(t *testing.T, b *browser) {
	_, way, alice, w := channelByProxy(t)
	p := b.profile(t).page()
	p.expectRefusals()
	p.signIn(way.url, alice)
	p.open(w.id)
	way.set(func() { way.swallow = true })
	p.write("#text", "once")
	p.enter()
	p.awaitText("#composer-problem", "it will be posted only once")
	p.awaitText("#messages", "once") // it has arrived, as the stream tells
	way.set(func() { way.swallow = false })
	p.do(chromedp.Focus(chromedp.CSS("#text")))
	p.enter()
	p.await(
		`document.querySelector("#text").value === "" && document.querySelector("#composer-problem").hidden`,
	)
	w.post(1)
	p.awaitText("#messages", "message 0")
	if got := strings.Join(p.messages(), ", "); got != "once, message 0" {
		t.Errorf("got %q, want it said once", got)
	}
}
